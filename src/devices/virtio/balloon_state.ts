/** Saved state of virtio-balloon. */
import { nested, struct, subsection, u32 } from "../../vmstate/vmstate.ts";
import type { OwnStateOf } from "./virtio_state.ts";

const device = struct({
  name: "virtio-balloon-device",
  version: 1,
  fields: {
    /** Pages that the host wants. */
    numPages: u32(),
    /** Pages that the guest has given. */
    actual: u32(),
  },
  subsections: {
    /** Written by a device with free page hints. */
    freePageReport: subsection({
      name: "virtio-balloon-device/free-page-report",
      version: 1,
      fields: { freePageHintCmdId: u32(), freePageHintStatus: u32() },
    }),
    /** Present if VIRTIO_BALLOON_F_PAGE_POISON was accepted: what the guest fills free pages with. */
    poisonValue: subsection({
      name: "virtio-balloon-device/page-poison",
      version: 1,
      key: "poisonVal",
      field: u32(),
    }),
  },
});

export const virtioBalloonState = { name: "virtio-balloon", version: 1, own: nested(device) };

/** The device's own part of a saved state. */
export type VirtioBalloonState = OwnStateOf<typeof virtioBalloonState>;
