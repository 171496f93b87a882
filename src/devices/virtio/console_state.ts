/** Saved state of virtio-console (virtio-serial-device): its ports. */
import {
  array,
  conditional,
  countedArray,
  nested,
  struct,
  u16,
  u32,
  u64,
  u8,
} from "../../vmstate/vmstate.ts";
import { QueueElementField } from "./queue_element_state.ts";
import type { OwnStateOf } from "./virtio_state.ts";

/** Most ports a device can have. */
const portMaximum = 511;

/** Declares the section for a device. `packed`: it offers VIRTIO_F_RING_PACKED. */
export function virtioConsoleState(packed: boolean) {
  /** A request whose data went to the port's backend in part. */
  const popped = struct({
    name: "popped",
    version: 1,
    fields: {
      /** Buffer being sent. */
      iovIndex: u32(),
      /** Byte offset in that buffer. */
      iovOffset: u64(),
      element: new QueueElementField(packed),
    },
  });
  const port = struct({
    name: "port",
    version: 1,
    fields: {
      id: u32(),
      guestConnected: u8(),
      hostConnected: u8(),
      hasElement: u32(),
      element: conditional(nested(popped), (port: { hasElement: number }) => port.hasElement === 1),
    },
  });
  const ports = struct({
    name: "ports",
    version: 1,
    fields: {
      cols: u16(),
      rows: u16(),
      maxNrPorts: u32(),
      /** Bit n of word n / 32: port n exists. */
      portsMap: array(u32(), { key: "maxNrPorts", maximum: portMaximum, unit: 32 }),
      ports: countedArray(nested(port), portMaximum),
    },
  });
  return { name: "virtio-console", version: 3, own: nested(ports) };
}

/** The device's own part of a saved state. */
export type VirtioConsoleState = OwnStateOf<ReturnType<typeof virtioConsoleState>>;
