import { assertEquals } from "@std/assert";
import { type InterruptMessage, Ioapic } from "../../../src/devices/ioapic.ts";
import { migrate } from "./saved_state.ts";

const LEVEL = 0x8000;
const MASKED = 0x10000;
const REMOTE_IRR = 0x4000;

function chip() {
  const sent: InterruptMessage[] = [];
  const ioapic = new Ioapic(1, (message) => sent.push(message));
  const select = (index: number) => ioapic.write(0x00, 4, index);
  return {
    ioapic,
    sent,
    read(index: number) {
      select(index);
      return ioapic.read(0x10, 4);
    },
    /** Sets up a pin's redirection entry. */
    redirect(pin: number, low: number, high = 0) {
      select(0x11 + 2 * pin);
      ioapic.write(0x10, 4, high);
      select(0x10 + 2 * pin);
      ioapic.write(0x10, 4, low);
    },
  };
}

Deno.test("version 0x20 with 24 pins, all masked, id 0 of which four bits can be set", () => {
  const { ioapic, read } = chip();
  assertEquals(read(1), 0x00170020);
  assertEquals(read(0x10), MASKED);
  assertEquals(read(0x3e), MASKED);
  assertEquals(read(0), 0);
  ioapic.write(0x10, 4, 0xffffffff);
  assertEquals([read(0), read(2)], [0x0f000000, 0x0f000000]);
});

Deno.test("every rising edge sends one message with the entry's vector and destination", () => {
  const { ioapic, sent, redirect } = chip();
  redirect(23, 0x31, 0x02000000);
  redirect(0, 0x932, 0xff000000);
  const [first, last] = [ioapic.line(0), ioapic.line(23)];
  last.set(true);
  last.set(false);
  last.set(true);
  first.set(true);
  assertEquals(sent, [
    { address: 0xfee02000, data: 0x31 },
    { address: 0xfee02000, data: 0x31 },
    // Lowest priority, logical destination.
    { address: 0xfeeff004, data: 0x132 },
  ]);
});

Deno.test("an edge on a masked pin is lost, a level is sent once it is unmasked", () => {
  const { ioapic, sent, redirect } = chip();
  redirect(3, 0x40 | MASKED);
  redirect(4, 0x41 | MASKED | LEVEL);
  ioapic.line(3).set(true);
  ioapic.line(4).set(true);
  redirect(3, 0x40);
  assertEquals(sent, []);
  redirect(4, 0x41 | LEVEL);
  assertEquals(sent, [{ address: 0xfee00000, data: 0x8041 }]);
});

Deno.test("a level is sent again at EOI for as long as the pin is high", () => {
  const { ioapic, sent, redirect, read } = chip();
  redirect(5, 0x50 | LEVEL);
  const pin = ioapic.line(5);
  pin.set(true);
  pin.set(true);
  assertEquals([sent.length, read(0x1a)], [1, 0x50 | LEVEL | REMOTE_IRR]);
  ioapic.write(0x40, 4, 0x50);
  assertEquals(sent.length, 2);
  ioapic.endOfInterrupt(0x51);
  assertEquals(sent.length, 2, "another vector's EOI");
  pin.set(false);
  ioapic.endOfInterrupt(0x50);
  assertEquals([sent.length, read(0x1a)], [2, 0x50 | LEVEL]);
});

Deno.test("remote IRR and what is pending behind it move along", () => {
  const { ioapic, redirect } = chip();
  redirect(5, 0x50 | LEVEL, 0x01000000);
  ioapic.line(5).set(true);
  const next = chip();
  migrate(ioapic, next.ioapic);
  assertEquals(next.sent, [], "it is not sent again");
  assertEquals(next.read(0x1a), 0x50 | LEVEL | REMOTE_IRR);
  next.ioapic.endOfInterrupt(0x50);
  assertEquals(next.sent, [{ address: 0xfee01000, data: 0x8050 }]);
});

Deno.test("reset masks all pins and forgets levels", () => {
  const { ioapic, sent, redirect, read } = chip();
  redirect(1, 0x50 | LEVEL | MASKED);
  ioapic.line(1).set(true);
  ioapic.reset();
  redirect(1, 0x50 | LEVEL);
  assertEquals([sent.length, read(0x12)], [0, 0x50 | LEVEL]);
});
