/** A device's state as it travels: encoded, and decoded into another instance. */
import { StateReader, StateWriter } from "../../../src/vmstate/vmstate.ts";
import type { SavedDevice } from "../../../src/vmstate/saved_device.ts";

/** The body of the device's section. */
export function encode<State>(device: SavedDevice<State>): Uint8Array<ArrayBuffer> {
  const writer = new StateWriter();
  device.description.encode(writer, device.save());
  return writer.bytes.slice();
}

/** Moves the state of one device into another, through its encoding. */
export function migrate<State>(from: SavedDevice<State>, to: SavedDevice<State>): void {
  // In a stream something follows; a reader looks at its first byte.
  const section = Uint8Array.of(...encode(from), 0);
  to.load(to.description.decode(new StateReader(section), to.description.version));
}
