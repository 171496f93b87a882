/** Wrappers of the C library's objects and memory refuse use after their end; no stale handle is used. */
import { assertEquals, assertThrows } from "@std/assert";
import { DeviceInterrupt } from "../../../src/native/device_interrupt.ts";
import { DeviceMemory } from "../../../src/native/device_memory.ts";
import { EventLoop } from "../../../src/native/event_loop.ts";
import { createEvent } from "../../../src/native/event_descriptor.ts";
import { DisposedError, NativeHandle } from "../../../src/native/handle.ts";
import { Mapping } from "../../../src/native/mapping.ts";
import { MultifdEnd } from "../../../src/native/multifd.ts";
import { NativeNetwork } from "../../../src/native/network.ts";
import { PageBitmap } from "../../../src/native/pages.ts";
import { NativeQueue } from "../../../src/native/virtqueue.ts";

function refused(use: () => unknown): void {
  assertThrows(use, DisposedError, "was used after it had been disposed");
}

Deno.test("objects of the C library are not used after their end, and end once", () => {
  const interrupt = new DeviceInterrupt(undefined, undefined);
  const memory = new DeviceMemory([]);
  const queues = [new NativeQueue(memory, interrupt, 0), new NativeQueue(memory, interrupt, 1)];
  using kick = createEvent();
  using attention = createEvent();
  const served = queues.map((queue) => ({ queue, kick: kick.fd }));
  const network = new NativeNetwork(served, attention.fd);
  const multifd = new MultifdEnd("none");
  const loop = new EventLoop();
  for (const part of [network, ...queues, memory, interrupt, multifd, loop]) {
    part[Symbol.dispose]();
    part[Symbol.dispose]();
  }
  refused(() => network.connect(0, { kind: "none" }));
  refused(() => network.lost(0));
  refused(() => queues[0]?.pop());
  refused(() => memory.recordWrites(0, 0n, 0));
  refused(() => interrupt.queueUsed(0));
  assertThrows(() => interrupt.status, TypeError);
  refused(() => loop.wake());
  refused(() => new NativeQueue(memory, interrupt, 0));
});

Deno.test("memory that was unmapped cannot be read or written, by whatever shows it", () => {
  const mapping = new Mapping({ kind: "anonymous" }, 4096, "a page");
  const words = new Uint32Array(mapping.bytes.buffer);
  const view = new DataView(mapping.bytes.buffer);
  words[1] = 5;
  assertEquals(mapping.bytes[4], 5);
  mapping[Symbol.dispose]();
  assertEquals([mapping.bytes.length, words.length, words[1]], [0, 0, undefined]);
  assertThrows(() => view.getUint8(0), TypeError);
  refused(() => mapping.address);
  const bitmap = new PageBitmap(64);
  bitmap[Symbol.dispose]();
  refused(() => bitmap.count());
});

Deno.test("what a call on another thread uses is freed when the call has ended", async () => {
  const memory = new Mapping({ kind: "anonymous" }, 64 * 4096, "pages");
  const bitmap = new PageBitmap(64);
  bitmap.fill(true);
  memory.bytes[4096] = 1;
  const { bytes } = bitmap;
  const dropping = bitmap.dropZeroPages(memory, 0, 64);
  memory[Symbol.dispose]();
  bitmap[Symbol.dispose]();
  assertEquals(bytes.length, 8, "the call still uses it");
  await dropping;
  assertEquals(bytes.length, 0);
});

Deno.test("who holds a handle twice lets it go twice", () => {
  let freed = 0;
  const handle = new NativeHandle("a thing", 1n, () => freed++);
  const holds = [handle.hold(), handle.hold()];
  handle[Symbol.dispose]();
  refused(() => handle.value);
  refused(() => handle.hold());
  holds[0]?.[Symbol.dispose]();
  holds[0]?.[Symbol.dispose]();
  assertEquals(freed, 0);
  holds[1]?.[Symbol.dispose]();
  assertEquals(freed, 1);
});
