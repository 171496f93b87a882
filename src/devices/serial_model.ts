/** Serial ports as devices of a board. */
import type { CharacterPort } from "../backends/character.ts";
import { guardedPort } from "../backends/guarded_port.ts";
import { deviceModel } from "./model.ts";
import { Serial } from "./serial.ts";

const PORT_LENGTH = 8;

/** What a board says of a serial port. */
export interface SerialSettings {
  readonly port: number;
  readonly irq: number;
  /** What it is connected to. */
  readonly backend: CharacterPort;
  /** Its number among the serial ports in streams. */
  readonly instanceId?: number;
}

export const serialModel = deviceModel({
  name: "isa-serial",
  create({ port, irq, backend, instanceId = 0 }: SerialSettings, { clock, line, ports, faulted }) {
    const device = new Serial({
      irq: line(irq),
      clock,
      backend: guardedPort(backend, (fault) => faulted("the serial port", fault)),
    }, instanceId);
    ports.map("serial", port, PORT_LENGTH, device);
    return { device, sections: [device], resettable: device, listener: device };
  },
});
