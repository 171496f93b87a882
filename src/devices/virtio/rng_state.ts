/** Saved state of virtio-rng: nothing of its own. */
import { nested, type StateOf, struct } from "../../vmstate/vmstate.ts";
import { virtioState } from "./virtio_state.ts";

const nothing = struct({ name: "nothing", version: 1, fields: {} });

export const virtioRngState = virtioState("virtio-rng", 1, nested(nothing));

export type VirtioRngState = StateOf<typeof virtioRngState>;
