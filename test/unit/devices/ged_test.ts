import { assertEquals } from "@std/assert";
import { GenericEventDevice } from "../../../src/devices/ged.ts";
import { migrate } from "./saved_state.ts";
import { RecordedLine } from "./dependencies.ts";

function device() {
  const irq = new RecordedLine();
  const calls: string[] = [];
  const ged = new GenericEventDevice({
    irq,
    powerOff: () => calls.push("power off"),
    reset: () => calls.push("reset"),
  });
  return { irq, calls, ged };
}

Deno.test("the power button pulses the interrupt and shows once in the event register", () => {
  const { ged, irq } = device();
  ged.powerButton();
  assertEquals([irq.rises, irq.level], [1, false]);
  assertEquals(ged.eventRegion.read(0, 1), 0, "narrow reads see nothing");
  assertEquals(ged.eventRegion.read(0, 4), 2);
  assertEquals(ged.eventRegion.read(0, 4), 0);
});

Deno.test("writing the event register changes nothing", () => {
  const { ged } = device();
  ged.powerButton();
  ged.eventRegion.write(0, 4, 0xffffffff);
  assertEquals(ged.eventRegion.read(0, 4), 2);
});

Deno.test("an event that the guest has not read moves along and outlives a reset", () => {
  const { ged } = device();
  ged.powerButton();
  const next = device();
  migrate(ged, next.ged);
  assertEquals(next.irq.rises, 0);
  next.ged.reset();
  assertEquals(next.ged.eventRegion.read(0, 4), 2);
});

Deno.test("S5 with sleep enable powers off, whatever the other bits are", () => {
  const { ged, calls } = device();
  for (const value of [0x14, 0x20, 0x22, 0x30]) ged.registerRegion.write(0, 1, value);
  assertEquals(calls, []);
  for (const value of [0x34, 0x35, 0x74, 0xf4]) ged.registerRegion.write(0, 1, value);
  assertEquals(calls, Array(4).fill("power off"));
});

Deno.test("0x42 in the reset register resets, in a wider write as well", () => {
  const { ged, calls } = device();
  ged.registerRegion.write(2, 1, 0x41);
  ged.registerRegion.write(1, 1, 0x42);
  assertEquals(calls, []);
  ged.registerRegion.write(2, 1, 0x42);
  ged.registerRegion.write(1, 2, 0x4200);
  assertEquals(calls, ["reset", "reset"]);
  assertEquals([0, 1, 2].map((offset) => ged.registerRegion.read(offset, 1)), [0, 0, 0]);
});
