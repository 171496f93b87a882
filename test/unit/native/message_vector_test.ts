import { assertEquals } from "@std/assert";
import { DeviceInterrupt, InterruptBits } from "../../../src/native/device_interrupt.ts";
import { processLoop } from "../../../src/native/event_loop.ts";
import { NativeVector } from "../../../src/native/message_vector.ts";

const message = { address: 0xfee00000n, data: 0x31 };

Deno.test("a masked vector keeps one interrupt until it is unmasked", () => {
  using vector = new NativeVector(undefined);
  vector.raise();
  vector.raise();
  assertEquals([vector.pending, vector.sent], [true, 0n]);
  vector.set(message);
  assertEquals([vector.pending, vector.sent], [false, 1n]);
  vector.raise();
  assertEquals(vector.sent, 2n);
  vector.set(undefined);
  vector.pending = true;
  vector.pending = false;
  vector.set(message);
  assertEquals(vector.sent, 2n);
});

Deno.test("each cause of a device's interrupt raises the vector it has", () => {
  using configuration = new NativeVector(undefined);
  using used = new NativeVector(undefined);
  using interrupt = new DeviceInterrupt(undefined, "function", 2);
  interrupt.assign("configuration", configuration);
  interrupt.assign({ queue: 1 }, used);
  for (const vector of [configuration, used]) vector.set(message);
  interrupt.enableVectors(true);
  interrupt.queueUsed(1);
  interrupt.queueUsed(0);
  assertEquals([configuration.sent, used.sent], [0n, 1n]);
  interrupt.configurationChanged();
  assertEquals([configuration.sent, used.sent], [1n, 1n]);
  assertEquals(interrupt.status, InterruptBits.queue | InterruptBits.configuration);
});

Deno.test("without vectors a function's line is set when the bits stop being zero", async () => {
  using interrupt = new DeviceInterrupt(undefined, "function", 1);
  using _served = processLoop().keepServing();
  let changed = Promise.withResolvers<number>();
  using _ = interrupt.watch(
    processLoop(),
    (fault) => changed.reject(fault),
    () => changed.resolve(interrupt.status),
  );
  interrupt.queueUsed(0);
  assertEquals(await changed.promise, InterruptBits.queue);
  changed = Promise.withResolvers();
  interrupt.acknowledge(InterruptBits.queue);
  assertEquals(interrupt.status, 0);
  interrupt.configurationChanged();
  assertEquals(await changed.promise, InterruptBits.queue | InterruptBits.configuration);
});
