/**
 * A destination that waits saves its own devices and loads them again, some times over. Nothing
 * changes by that; but the code that will run while the guest stands still is compiled by then.
 */
import { ReceivedDevices, saveDevices } from "./device_state.ts";
import type { MigratableMachine } from "./source.ts";
import { StreamReader } from "./stream/stream_reader.ts";
import { StreamWriter } from "./stream/stream_writer.ts";

/** After so many times it gets hardly faster. */
const TIMES = 20;

/** Rehearses the loading of a machine that is stopped. */
export function rehearse(machine: MigratableMachine): void {
  for (let time = 0; time < TIMES; time++) {
    const writer = new StreamWriter();
    writer.begin({ machineType: machine.machineType, capabilities: [] });
    saveDevices(writer, machine, "running");
    writer.finish(!machine.suppressDescription);
    load(machine, writer.take());
  }
}

function load(machine: MigratableMachine, stream: Uint8Array): void {
  const devices = new ReceivedDevices(machine);
  const reader = new StreamReader({
    devices: (idstr, instanceId) => devices.descriptionsOf(idstr, instanceId),
  });
  reader.push(stream);
  for (;;) {
    const item = reader.next();
    if (item?.kind === "device") {
      devices.add(item.section.idstr, item.section.instanceId, item.state);
    }
    if (item === undefined || item.kind === "end of stream") break;
  }
  devices.apply();
}
