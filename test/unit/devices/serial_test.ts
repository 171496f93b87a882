import { assertEquals } from "@std/assert";
import { Serial } from "../../../src/devices/serial.ts";
import { ManualClock, MemoryBackend, RecordedLine } from "./surroundings.ts";

function uart() {
  const irq = new RecordedLine();
  const clock = new ManualClock();
  const backend = new MemoryBackend();
  const serial = new Serial({ irq, clock, backend });
  serial.runStateChanged(true);
  return { irq, clock, backend, serial };
}

Deno.test("output goes to the backend and the transmitter is empty again", () => {
  const { serial, backend } = uart();
  for (const byte of new TextEncoder().encode("hello")) serial.write(0, 1, byte);
  assertEquals(backend.text, "hello");
  assertEquals(serial.read(5, 1), 0x60);
});

Deno.test("output that a full backend did not take is saved and sent by the next owner", () => {
  const { serial, backend } = uart();
  serial.write(2, 1, 0x01);
  backend.room = 2;
  for (const byte of new TextEncoder().encode("abcdef")) serial.write(0, 1, byte);
  assertEquals(backend.text, "ab");
  assertEquals(serial.read(5, 1) & 0x60, 0);
  serial.runStateChanged(false);
  const state = serial.save();
  backend.drain(10);
  assertEquals(backend.text, "ab");

  const next = uart();
  next.serial.runStateChanged(false);
  next.serial.load(state);
  assertEquals(next.backend.text, "");
  next.serial.runStateChanged(true);
  assertEquals(next.backend.text, "cdef");
  assertEquals(next.serial.read(5, 1), 0x60);
});
