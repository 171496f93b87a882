/**
 * What virtio over PCI saves of a device besides what all transports do. The section is called
 * `<address>/<device>`, e.g. `0000:00:01.0:00.0/virtio-blk`.
 */
import {
  array,
  bool,
  nested,
  padding,
  struct,
  subsection,
  u16,
  u32,
  u64,
  zeroPaddedArray,
} from "../../vmstate/vmstate.ts";
import { conventionalDeviceState, expressDeviceState, msixState } from "../pci/pci_state.ts";
import type { VirtioPciOptions } from "./pci_space.ts";
import { checkQueue, QUEUE_MAXIMUM, type VirtioSection, virtioState } from "./virtio_state.ts";

/** A vector's number that stands for none. */
export const NO_VECTOR = 0xffff;

/** A queue's registers as the guest wrote them: addresses as low and high word. */
const modernQueue = struct({
  name: "virtio_pci/modern_queue_state",
  version: 1,
  fields: {
    num: u16(),
    unused: padding(1),
    enabled: bool(),
    desc: array(u32(), 2),
    avail: array(u32(), 2),
    used: array(u32(), 2),
  },
});

/** Modern registers. Written also of a device that a legacy driver uses; then they are 0. */
const modern = struct({
  name: "virtio_pci",
  version: 1,
  fields: {},
  subsections: {
    state: subsection({
      name: "virtio_pci/modern_state",
      version: 1,
      fields: {
        deviceFeatureSelect: u32({ name: "dfselect" }),
        driverFeatureSelect: u32({ name: "gfselect" }),
        /** As the guest wrote them: low and high word. */
        guestFeatures: array(u32(), 2),
        vqs: zeroPaddedArray(nested(modernQueue), QUEUE_MAXIMUM),
      },
    }),
  },
});

const extra = nested(modern, { name: "extra_state" });
const queueFields = { num: u32(), desc: u64(), lastAvailIdx: u16() } as const;

/** A queue of a device without MSI-X. */
const plainQueue = struct({
  name: "queue",
  version: 1,
  fields: queueFields,
  postLoad: checkQueue,
});
/** A queue with the vector that its interrupts have. */
const vectoredQueue = struct({
  name: "queue",
  version: 1,
  fields: { ...queueFields, vector: u16() },
  postLoad: checkQueue,
});

/** Declares the section of a device without MSI-X. */
export function virtioPciPlainState<Own>(
  section: VirtioSection<Own>,
  form: VirtioPciOptions["form"],
) {
  return virtioState(section, {
    registers: { pci: nested(deviceState(form)) },
    queue: plainQueue,
    extra,
  });
}

/** Declares the section of a device with MSI-X. */
export function virtioPciState<Own>(
  section: VirtioSection<Own>,
  { form, vectors }: VirtioPciOptions,
) {
  return virtioState(section, {
    registers: {
      pci: nested(deviceState(form)),
      msix: nested(msixState(vectors)),
      configVector: u16(),
    },
    queue: vectoredQueue,
    extra,
  });
}

function deviceState(form: VirtioPciOptions["form"]) {
  return form === "express" ? expressDeviceState : conventionalDeviceState;
}
