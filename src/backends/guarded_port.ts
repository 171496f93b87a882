/**
 * A character device's port for a device of the guest: what goes wrong in the device, when input or news
 * of the other end are given to it, is the machine's fault and not that of the other end.
 */
import { contain, type FaultHandler } from "../native/event_loop.ts";
import type { CharacterFrontend, CharacterPort } from "./character.ts";

/** `port`, with faults of the frontend that attaches to it going to `failed`. */
export function guardedPort(port: CharacterPort, failed: FaultHandler): CharacterPort {
  const guard = (frontend: CharacterFrontend): CharacterFrontend => ({
    canReceive: () => {
      let room = 0;
      contain(() => room = frontend.canReceive(), failed);
      return room;
    },
    receive: (bytes) => void contain(() => frontend.receive(bytes), failed),
    event: (event) => void contain(() => frontend.event(event), failed),
  });
  return {
    id: port.id,
    attach: (frontend) => port.attach(guard(frontend)),
    detach: () => port.detach(),
    write: (bytes, onWritable) =>
      port.write(bytes, onWritable && (() => void contain(onWritable, failed))),
    acceptInput: () => port.acceptInput(),
    disconnect: () => port.disconnect(),
    takeDescriptors: () => port.takeDescriptors(),
    [Symbol.dispose]: () => port[Symbol.dispose](),
  };
}
