/** Saved state of virtio-rng: nothing of its own. */
import { nested, struct } from "../../vmstate/vmstate.ts";
import type { OwnStateOf } from "./virtio_state.ts";

const nothing = struct({ name: "nothing", version: 1, fields: {} });

export const virtioRngState = { name: "virtio-rng", version: 1, own: nested(nothing) };

/** The device's own part of a saved state. */
export type VirtioRngState = OwnStateOf<typeof virtioRngState>;
