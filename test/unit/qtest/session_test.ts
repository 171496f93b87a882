import { assert, assertEquals, assertMatch } from "@std/assert";
import type { CharacterFrontend, CharacterPort } from "../../../src/backends/character.ts";
import type { RegisterRegion } from "../../../src/devices/device.ts";
import { AddressSpace } from "../../../src/machine/address_space.ts";
import { Bus } from "../../../src/machine/bus.ts";
import { QtestLog } from "../../../src/qtest/log.ts";
import { MAX_LINE } from "../../../src/qtest/protocol.ts";
import { QtestSession } from "../../../src/qtest/session.ts";
import type { QtestTarget, TestClock } from "../../../src/qtest/target.ts";

/** A client's end, which takes `room` bytes of answers. */
class Client implements CharacterPort {
  readonly id = "qtest";
  room = Infinity;
  #frontend: CharacterFrontend | undefined;
  #text = "";
  #onWritable: (() => void) | undefined;

  attach(frontend: CharacterFrontend): void {
    this.#frontend = frontend;
    frontend.event("opened");
  }

  detach(): void {
    this.#frontend = undefined;
  }

  write(bytes: Uint8Array<ArrayBuffer>, onWritable?: () => void): number {
    const taken = Math.min(bytes.length, this.room);
    this.room -= taken;
    this.#text += new TextDecoder().decode(bytes.subarray(0, taken));
    if (taken < bytes.length) this.#onWritable = onWritable;
    return taken;
  }

  acceptInput(): void {}
  takeDescriptors() {
    return [];
  }
  disconnect(): void {}
  [Symbol.dispose](): void {}

  get capacity(): number {
    return this.#frontend?.canReceive() ?? 0;
  }

  send(text: string): void {
    this.#frontend?.receive(new Uint8Array(new TextEncoder().encode(text)));
  }

  leaveAndComeBack(): void {
    this.#frontend?.event("closed");
    this.#text = "";
    this.#frontend?.event("opened");
  }

  /** Takes everything that waits. */
  drain(): void {
    this.room = Infinity;
    this.#onWritable?.();
  }

  answers(): string[] {
    const lines = this.#text.split("\n");
    this.#text = lines.pop() ?? "";
    return lines;
  }
}

/** A register at port 0x80 and at address 0x1000 that keeps what is written to it. */
function machine(clock?: TestClock): QtestTarget {
  const values = new Uint8Array(4);
  const view = new DataView(values.buffer);
  const register: RegisterRegion = {
    read: (offset, size) => size === 4 ? view.getUint32(0, true) : values[offset] ?? 0,
    write: (offset, size, value) => {
      if (size === 4) view.setUint32(0, value, true);
      else values[offset] = value;
    },
  };
  const ports = new Bus("ones");
  ports.map("register", 0x80, 4, register);
  const memory = new Bus("zeros");
  memory.map("register", 0x1000, 4, register);
  return { ports, memory: new AddressSpace(undefined, memory), ...(clock ? { clock } : {}) };
}

function start(target = machine()): Client {
  const client = new Client();
  new QtestSession(client, target, new QtestLog(undefined));
  return client;
}

Deno.test("commands reach the buses and are answered in order", () => {
  const client = start();
  client.send("endianness\noutl 0x80 0x11223344\ninb 0x81\nreadl 0x1000\nreadb 0x5000\ninb 0x99\n");
  assertEquals(client.answers(), [
    "OK little",
    "OK",
    "OK 0x0033",
    "OK 0x0000000011223344",
    "OK 0x0000000000000000",
    "OK 0x00ff",
  ]);
});

Deno.test("a command may come in pieces", () => {
  const client = start();
  for (const character of "readl 0x1000\n") client.send(character);
  assertEquals(client.answers(), ["OK 0x0000000000000000"]);
});

Deno.test("a client that leaves half way leaves nothing for the next one", () => {
  const client = start();
  client.send("outb 0x80 ");
  client.leaveAndComeBack();
  client.send("endianness\n");
  assertEquals(client.answers(), ["OK little"]);
});

Deno.test("a line too long is refused and the next one served", () => {
  const client = start();
  const piece = "x".repeat(1 << 20);
  for (let sent = 0; sent <= MAX_LINE; sent += piece.length) client.send(piece);
  client.send("\nendianness\n");
  assertEquals(client.answers(), [`FAIL the line is longer than ${MAX_LINE} bytes`, "OK little"]);
});

Deno.test("a client that does not read is not listened to until it does", () => {
  const client = start();
  client.room = 0;
  let sent = 0;
  while (client.capacity > 0) {
    client.send("read 0x1000 0x4000\n");
    sent++;
  }
  assert(sent > 1);
  client.drain();
  assertEquals(client.answers().length, sent);
  assert(client.capacity > 0);
});

Deno.test("a clock is the client's only where no vCPU runs", () => {
  const guest = start();
  guest.send("clock_step\nclock_set 5\n");
  assertEquals(guest.answers(), [
    "FAIL Unknown command 'clock_step'",
    "FAIL Unknown command 'clock_set'",
  ]);

  let now = 100n;
  let next: bigint | undefined = 150n;
  const client = start(machine({
    now: () => now,
    nextExpiry: () => next,
    advance: (time) => {
      if (next !== undefined && next <= time) next = undefined;
      if (time > now) now = time;
    },
  }));
  client.send("clock_step\nclock_step\nclock_step 7\nclock_step -1\nclock_set 200\nclock_set 3\n");
  assertEquals(client.answers(), [
    "OK 150",
    "FAIL cannot advance clock to the next deadline because there is no pending deadline",
    "OK 157",
    "FAIL could not advance time",
    "OK 200",
    "FAIL 200",
  ]);
});

Deno.test("the log has what came and went, in QEMU's form", () => {
  let text = "";
  const log = new QtestLog({ write: (bytes) => text += new TextDecoder().decode(bytes) });
  const client = new Client();
  using session = new QtestSession(client, machine(), log);
  client.send("inb 0x80\nb64write 0 1 AQI=\n");
  session.event("closed");
  const [opened, received, sent, , mismatch, , closed] = text.split("\n");
  assertEquals(opened, "[I 0.000000] OPENED");
  assertMatch(received ?? "", /^\[R \+\d+\.\d{6}\] inb 0x80$/);
  assertMatch(sent ?? "", /^\[S \+\d+\.\d{6}\] OK 0x0000$/);
  assertMatch(mismatch ?? "", /b64write: data length mismatch \(told 1, found 2\)$/);
  assertMatch(closed ?? "", /^\[I \+\d+\.\d{6}\] CLOSED$/);
});
