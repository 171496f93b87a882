/** Device models against traces recorded on QEMU 11.1.3 (traces/record.ts). */
import { assert } from "@std/assert";
import { create, moved, type SpecimenName } from "./traces/specimens.ts";
import { replay } from "./traces/replay.ts";
import { parseTraces } from "./traces/trace.ts";

for (const name of ["serial", "rtc", "ioapic"] as const) {
  Deno.test(`${name}: random driver scripts see what they see on QEMU`, async () => {
    for (const trace of await traces(name)) replay(trace, create(name));
  });

  Deno.test(`${name}: saved and loaded before every step, it shows the same`, async () => {
    for (const trace of await traces(name)) {
      let current = create(name);
      replay(trace, current, () => current = moved(name, current));
    }
  });
}

async function traces(name: SpecimenName) {
  const text = await Deno.readTextFile(new URL(`./traces/${name}.txt`, import.meta.url));
  const all = parseTraces(text);
  assert(all.length > 1 && all.every((trace) => trace.length > 100));
  return all;
}
