import { assert, assertEquals, assertThrows } from "@std/assert";
import { Serial } from "../../../src/devices/serial.ts";
import { migrate } from "./saved_state.ts";
import { ManualClock, MemoryBackend, RecordedLine } from "./dependencies.ts";

const RBR = 0;
const THR = 0;
const IER = 1;
const IIR = 2;
const FCR = 2;
const LCR = 3;
const MCR = 4;
const LSR = 5;
const MSR = 6;
const SCR = 7;

/** A character of ten bits at 115200 baud, in ns. */
const CHARACTER_TIME = 86_805n;

function uart(backend = new MemoryBackend()) {
  const irq = new RecordedLine();
  const clock = new ManualClock();
  const serial = new Serial({ irq, clock, backend });
  serial.runStateChanged(true);
  return {
    irq,
    clock,
    backend,
    serial,
    read: (register: number) => serial.read(register, 1),
    write: (register: number, value: number) => serial.write(register, 1, value),
  };
}

/** The same port in another process, connected to the same backend. Stops the old one. */
function moved(from: ReturnType<typeof uart>): ReturnType<typeof uart> {
  from.serial.runStateChanged(false);
  from.backend.detach();
  const to = uart(from.backend);
  to.serial.runStateChanged(false);
  migrate(from.serial, to.serial);
  to.irq.level = from.irq.level;
  to.clock.step(from.clock.now());
  to.serial.runStateChanged(true);
  return to;
}

Deno.test("a driver's probe finds a 16550A", () => {
  const { read, write } = uart();
  assertEquals([read(IIR), read(LSR), read(MSR), read(MCR)], [0x01, 0x60, 0xb0, 0x08]);
  write(SCR, 0x5a);
  assertEquals(read(SCR), 0x5a);
  write(FCR, 0x01);
  assertEquals(read(IIR) >> 6, 3);
  write(FCR, 0x00);
  assertEquals(read(IIR) >> 6, 0);
  write(IER, 0xff);
  assertEquals(read(IER), 0x0f);
});

Deno.test("the divisor latch hides behind LCR bit 7", () => {
  const { read, write } = uart();
  write(LCR, 0x83);
  assertEquals([read(0), read(1)], [12, 0]);
  write(0, 0x34);
  write(1, 0x12);
  assertEquals([read(0), read(1)], [0x34, 0x12]);
  write(LCR, 0x03);
  assertEquals([read(RBR), read(IER)], [0, 0]);
});

Deno.test("a wide access is one of its bytes", () => {
  const { serial, read, backend } = uart();
  serial.write(SCR, 1, 0x77);
  assertEquals(serial.read(MSR, 2), 0x77b0);
  serial.write(THR, 2, 0x0241);
  assertEquals([backend.text, read(IER)], ["A", 2]);
});

Deno.test("output goes to the backend and the transmitter is empty again", () => {
  const { read, write, backend } = uart();
  for (const byte of new TextEncoder().encode("hello")) write(THR, byte);
  assertEquals(backend.text, "hello");
  assertEquals(read(LSR), 0x60);
});

Deno.test("the transmitter interrupt: raised when enabled, ended by reading IIR or by writing", () => {
  const { read, write, irq } = uart();
  write(IER, 0x02);
  assert(irq.level);
  assertEquals(read(IIR), 0x02);
  assert(!irq.level);
  write(THR, 0x41);
  assertEquals([irq.level, irq.rises], [true, 2]);
  write(IER, 0x00);
  assert(!irq.level);
});

Deno.test("received data interrupts at the trigger level, or after four character times", () => {
  const { read, write, irq, clock, backend } = uart();
  write(LCR, 0x80);
  write(0, 1);
  write(LCR, 0x03);
  write(IER, 0x01);
  write(FCR, 0x81);
  backend.input(1, 2, 3, 4, 5, 6, 7);
  assert(!irq.level);
  clock.step(4n * CHARACTER_TIME - 10n);
  assert(!irq.level);
  clock.step(20n);
  assertEquals([irq.level, read(IIR) & 0x0f], [true, 0x0c]);
  assertEquals([read(RBR), irq.level], [1, false]);
  backend.input(8, 9, 10);
  assertEquals([irq.level, read(IIR) & 0x0f], [true, 0x04]);
  assertEquals(backend.pending, [10], "no more than the trigger level is taken");
  assertEquals([2, 3, 4, 5, 6, 7, 8, 9, 10].map(() => read(RBR)), [2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assertEquals([read(LSR), irq.level, backend.pending.length], [0x60, false, 0]);
});

Deno.test("without FIFOs one byte is held, the next waits in the backend", () => {
  const { read, backend } = uart();
  backend.input(1, 2);
  assertEquals([read(LSR) & 1, backend.pending.length], [1, 1]);
  assertEquals([read(RBR), read(RBR), read(LSR) & 1], [1, 2, 0]);
});

Deno.test("clearing the receive FIFO drops what is in it and lets in what waits", () => {
  const { read, write, backend } = uart();
  write(FCR, 0x01);
  backend.input(1, 2);
  write(FCR, 0x03);
  assertEquals([read(RBR), read(LSR) & 1], [2, 0]);
});

Deno.test("a break is a zero byte with LSR bit 4, an interrupt of the highest priority", () => {
  const { read, write, irq, backend } = uart();
  write(FCR, 0x01);
  write(IER, 0x05);
  backend.breakCondition();
  assertEquals([irq.level, read(IIR) & 0x0f], [true, 0x06]);
  assertEquals(read(LSR), 0x71);
  assertEquals(read(LSR), 0x61, "reading clears it");
  assertEquals([read(IIR) & 0x0f, read(RBR)], [0x04, 0]);
});

Deno.test("loopback returns output as input and modem outputs as inputs", () => {
  const { read, write, backend } = uart();
  write(MCR, 0x1a);
  assertEquals(read(MSR), 0x90);
  write(MCR, 0x15);
  assertEquals(read(MSR), 0x60);
  write(THR, 0x41);
  assertEquals([read(LSR), read(RBR), backend.text], [0x61, 0x41, ""]);
  write(THR, 0x42);
  write(THR, 0x43);
  assertEquals([read(LSR), read(RBR)], [0x63, 0x43], "overrun");
});

Deno.test("a full backend: LSR shows it, and the output follows when there is room", () => {
  const { read, write, backend, irq } = uart();
  write(FCR, 0x01);
  write(IER, 0x02);
  backend.room = 1;
  for (const byte of new TextEncoder().encode("abcd")) write(THR, byte);
  assertEquals([backend.text, read(LSR), irq.level], ["a", 0x00, false]);
  backend.drain(1);
  assertEquals([backend.text, read(LSR)], ["ab", 0x00]);
  backend.drain(1);
  assertEquals([backend.text, read(LSR), irq.level], ["abc", 0x20, true]);
  backend.drain(1);
  assertEquals([backend.text, read(LSR)], ["abcd", 0x60]);
});

Deno.test("a stopped machine neither sends what waits nor takes input", () => {
  const { serial, write, backend } = uart();
  backend.room = 0;
  write(THR, 0x41);
  serial.runStateChanged(false);
  const saved = serial.save();
  backend.drain(10);
  backend.input(1);
  assertEquals([backend.text, backend.pending.length], ["", 1]);
  assertEquals(serial.save(), saved);
  serial.runStateChanged(true);
  assertEquals([backend.text, backend.pending.length], ["A", 0]);
});

Deno.test("a reset drops what waits to be sent, and later output comes through", () => {
  const { serial, read, write, backend } = uart();
  backend.room = 0;
  write(THR, 0x41);
  serial.reset();
  assertEquals(read(LSR), 0x60);
  write(THR, 0x42);
  backend.drain(10);
  assertEquals([backend.text, read(LSR)], ["B", 0x60]);
});

Deno.test("no output is lost or doubled, wherever the port is moved", () => {
  for (const fifo of [0, 1]) {
    for (let seed = 1; seed <= 40; seed++) {
      let random = seed;
      const next = (below: number) => (random = random * 48271 % 0x7fffffff) % below;
      let port = uart();
      port.backend.room = 0;
      port.write(FCR, fifo);
      const sent: number[] = [];
      while (sent.length < 100) {
        const choice = next(4);
        if (choice === 0) port = moved(port);
        else if (choice === 1) port.backend.drain(next(5));
        else if ((port.read(LSR) & 0x20) !== 0) {
          for (let burst = fifo === 1 ? next(17) : 1; burst > 0; burst--) {
            sent.push(sent.length & 0xff);
            port.write(THR, sent.at(-1) ?? 0);
          }
        }
      }
      port.backend.drain(Infinity);
      assertEquals(port.backend.output, sent, `seed ${seed}`);
      assertEquals(port.read(LSR), 0x60);
    }
  }
});

Deno.test("unread input and its timeout move along", () => {
  const from = uart();
  from.write(IER, 0x01);
  from.write(FCR, 0x81);
  from.backend.input(1, 2, 3);
  from.clock.step(100n);
  const to = moved(from);
  const expiry = from.serial.save().fifoTimeoutTimer;
  assertEquals(to.serial.save().fifoTimeoutTimer, expiry);
  to.clock.step((expiry ?? 0n) - 100n);
  assertEquals([to.irq.level, to.read(IIR) & 0x0f], [true, 0x0c]);
  assertEquals([to.read(RBR), to.read(RBR), to.read(RBR)], [1, 2, 3]);
});

Deno.test("a hidden transmitter interrupt moves along", () => {
  const from = uart();
  from.write(IER, 0x03);
  from.backend.input(1);
  assertEquals(from.read(IIR), 0x04);
  const to = moved(from);
  assertEquals(to.read(IIR), 0x04);
  to.read(RBR);
  assertEquals([to.irq.level, to.read(IIR), to.irq.level], [true, 0x02, false]);
});

Deno.test("an interrupt line that was high is lowered by the process that took over", () => {
  const from = uart();
  from.write(IER, 0x02);
  const to = moved(from);
  assertEquals([to.irq.level, to.irq.rises], [true, 0], "loading does not touch it");
  to.read(IIR);
  assert(!to.irq.level);
});

Deno.test("a state that contradicts itself is refused", () => {
  const { serial, backend, write } = uart();
  backend.room = 0;
  write(THR, 0x41);
  const state = serial.save();
  const refused = (change: Partial<typeof state>, message: string) => {
    const broken = uart().serial;
    broken.save = () => ({ ...state, ...change });
    const target = uart();
    assertThrows(() => migrate(broken, target.serial), Error, message);
    assertEquals(target.serial.save(), uart().serial.save());
  };
  refused({ lsr: 0x60 }, "inconsistent state in serial device (tsr empty, tsr_retry=1)");
  refused({ tsr: undefined }, "inconsistent state in serial device (tsr not empty, tsr_retry=0)");
  refused({ receiveFifo: { data: new Uint8Array(16), head: 16, num: 1 } }, "head 16");
});
