import { assertEquals, assertThrows } from "@std/assert";
import { ReceivedDevices, saveDevices } from "../../../src/migration/device_state.ts";
import { MigrationError } from "../../../src/migration/errors.ts";
import type { MigratableMachine } from "../../../src/migration/source.ts";
import type { StreamWriter } from "../../../src/migration/stream/stream_writer.ts";
import { struct, u8 } from "../../../src/vmstate/vmstate.ts";

const description = struct({ name: "lamp", version: 1, fields: { brightness: u8() } });

/** A machine of lamps, which are loaded in this order, and a record of that. */
function machineOf(...names: readonly string[]): { machine: MigratableMachine; loaded: string[] } {
  const loaded: string[] = [];
  const sections = names.map((idstr) => ({
    idstr,
    instanceId: 0,
    description,
    save: () => ({ brightness: 1 }),
    load: ({ brightness }: { brightness: number }) => loaded.push(`${idstr} ${brightness}`),
  }));
  return { machine: { sections } as unknown as MigratableMachine, loaded };
}

Deno.test("devices get their state when the stream has ended, in the machine's order", () => {
  const { machine, loaded } = machineOf("a", "b");
  const devices = new ReceivedDevices(machine);
  devices.add("b", 0, { brightness: 2 });
  devices.add("a", 0, { brightness: 1 });
  assertEquals(loaded, []);
  devices.apply();
  assertEquals(loaded, ["a 1", "b 2"]);
});

Deno.test("devices that may be loaded early are, in the same order, and once", () => {
  const { machine, loaded } = machineOf("a", "b", "c");
  const devices = new ReceivedDevices(machine);
  devices.add("a", 0, { brightness: 1 });
  devices.loadEarly();
  assertEquals(loaded, ["a 1"]);
  devices.add("c", 0, { brightness: 3 });
  assertEquals(loaded, ["a 1"], "b is loaded before c");
  devices.add("b", 0, { brightness: 2 });
  assertEquals(loaded, ["a 1", "b 2", "c 3"]);
  devices.apply();
  assertEquals(loaded, ["a 1", "b 2", "c 3"]);
});

Deno.test("a state that is missing is named, also when others were loaded early", () => {
  const { machine, loaded } = machineOf("a", "b", "c");
  const devices = new ReceivedDevices(machine);
  devices.loadEarly();
  devices.add("a", 0, { brightness: 1 });
  devices.add("c", 0, { brightness: 3 });
  assertThrows(() => devices.apply(), MigrationError, "the stream has no section 'b' 0");
  assertEquals(loaded, ["a 1"]);
});

Deno.test("a section that only some sources write is missing if the source is one of those", () => {
  const { machine, loaded } = machineOf("cpu", "clock");
  const [cpu, clock] = machine.sections;
  const shows = (state: unknown) => (state as { brightness: number }).brightness > 1;
  const target = { sections: [cpu, { ...clock, writtenBy: { idstr: "cpu", shows } }] };
  const received = (brightness: number) => {
    const devices = new ReceivedDevices(target as unknown as MigratableMachine);
    devices.add("cpu", 0, { brightness });
    return devices;
  };
  received(1).apply();
  assertEquals(loaded, ["cpu 1"]);
  assertThrows(() => received(2).apply(), MigrationError, "the stream has no section 'clock' 0");
});

Deno.test("a section that a stream may lack holds nobody up, and is loaded when it is there", () => {
  const { machine, loaded } = machineOf("a", "eeprom", "b");
  const sections = machine.sections.map((section) =>
    section.idstr === "eeprom" ? { ...section, present: () => false } : section
  );
  const devices = new ReceivedDevices({ sections } as unknown as MigratableMachine);
  devices.loadEarly();
  devices.add("a", 0, { brightness: 1 });
  devices.add("b", 0, { brightness: 3 });
  assertEquals(loaded, ["a 1", "b 3"]);
  devices.add("eeprom", 0, { brightness: 2 });
  devices.apply();
  assertEquals(loaded, ["a 1", "b 3", "eeprom 2"]);
});

Deno.test("a section of which there is nothing to write leaves its number free", () => {
  const { machine } = machineOf("a", "eeprom", "b");
  let used = false;
  const sections = machine.sections.map((section) =>
    section.idstr === "eeprom" ? { ...section, present: () => used } : section
  );
  const written = () => {
    const ids: string[] = [];
    const writer = {
      device: ({ sectionId, idstr }: { sectionId: number; idstr: string }) =>
        ids.push(`${sectionId} ${idstr}`),
    };
    saveDevices(
      writer as unknown as StreamWriter,
      { sections } as unknown as MigratableMachine,
      undefined,
    );
    return ids;
  };
  assertEquals(written(), ["2 a", "4 b"]);
  used = true;
  assertEquals(written(), ["2 a", "3 eeprom", "4 b"]);
});
