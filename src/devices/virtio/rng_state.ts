/** Saved state of virtio-rng: nothing of its own. */
import { padding, type StateOf } from "../../vmstate/vmstate.ts";
import { virtioState } from "./virtio_state.ts";

export const virtioRngState = virtioState("virtio-rng", 1, padding(0));

export type VirtioRngState = StateOf<typeof virtioRngState>;
