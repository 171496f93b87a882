/**
 * Saved states of virtio devices in which bytes were changed: such a state is refused, or the device lives
 * with it; in any case a reset makes it work, and this process lives.
 *
 * MOLT_FUZZ_CASES: cases for each device and transport; MOLT_SEED: a seed that a failed run has printed.
 */
import { assert } from "@std/assert";
import { EventLoop } from "../../src/native/event_loop.ts";
import { newSeed, Random } from "../support/random.ts";
import { allFeatures, turn, VirtioDriver } from "../support/virtio_driver.ts";
import { WORKBENCH_BASE } from "../unit/devices/virtio/workbench.ts";
import { type Subject, subjects } from "./virtio_subjects.ts";

const CASES = Number(Deno.env.get("MOLT_FUZZ_CASES") ?? 100);
const DRIVER_MEMORY = 0x10000;
/** Values that are more often wrong than others. */
const extremes = [0, 1, 0x7f, 0x80, 0xff] as const;

/** The device's state while requests wait in all its queues. */
async function busyState(
  { bench, targets }: Subject,
  random: Random,
): Promise<Uint8Array<ArrayBuffer>> {
  const driver = new VirtioDriver(bench.bus, WORKBENCH_BASE, DRIVER_MEMORY);
  const without = targets.reduce((all, target) => all | (target.without ?? 0n), 0n);
  await driver.begin(allFeatures(random.chance(2) ? without : 0n));
  bench.transport.runStateChanged(false);
  for (const target of targets) {
    const queue = await driver.queue(target.index, 8);
    const buffers = target.request(random);
    const split = buffers.map(([content, written]) =>
      written ? { in: content.length } : { out: content }
    );
    for (let i = random.below(3); i > 0; i--) await queue.add(split, random.chance(2));
  }
  await driver.ready();
  if (random.chance(2)) {
    bench.transport.runStateChanged(true);
    await turn();
  }
  return bench.save();
}

function spoil(state: Uint8Array<ArrayBuffer>, random: Random): Uint8Array<ArrayBuffer> {
  const spoiled = state.slice();
  for (let i = random.between(1, 6); i > 0; i--) {
    const at = random.below(spoiled.length);
    spoiled[at] = random.chance(2) ? random.word() : random.pick(extremes);
  }
  return random.chance(16) ? spoiled.slice(0, random.below(spoiled.length)) : spoiled;
}

const base = newSeed();
for (const [name, create] of Object.entries(subjects)) {
  for (const legacy of [false, true]) {
    const kind = `${name}, ${legacy ? "legacy" : "modern"}`;
    Deno.test(`${kind}: ${CASES} spoiled states, seeds from ${base}`, async () => {
      console.log(`${kind}: seeds ${base} to ${base + CASES - 1}`);
      const loop = new EventLoop();
      const running = loop.run();
      let refused = 0;
      try {
        await using subject = await create({ legacy, loop });
        const { bench } = subject;
        for (let i = 0; i < CASES; i++) {
          const random = new Random(base + i);
          try {
            const state = spoil(await busyState(subject, random), random);
            try {
              bench.load(state);
            } catch (error) {
              assert(error instanceof Error && !(error instanceof TypeError), String(error));
              refused++;
            }
            bench.transport.runStateChanged(true);
            await turn();
            if (random.chance(4)) bench.save();
            bench.transport.runStateChanged(true);
            await subject.prove(new VirtioDriver(bench.bus, WORKBENCH_BASE, DRIVER_MEMORY));
          } catch (cause) {
            throw new Error(`${kind}: MOLT_SEED=${base + i}`, { cause });
          }
        }
      } finally {
        loop.stop();
        await running;
        loop[Symbol.dispose]();
      }
      assert(refused > 0);
    });
  }
}
