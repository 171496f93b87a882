/** The tests, inside the machine in which molt runs. */
import { bootTest, type Ending } from "./boot.ts";
import { aftermathTest, BusyGuest, updateTest } from "./busy.ts";
import type { GuestOptions } from "./guest.ts";
import { heartbeatTest, versionTest } from "./hardware.ts";
import { openPort, runTest, type Test } from "./test.ts";
import { updates } from "./updates.ts";

/** The words on this machine's kernel's command line. */
const words = Deno.readTextFileSync("/proc/cmdline").trim().split(" ");
const full = words.includes("rig.full");
const only = decodeURIComponent(
  words.find((word) => word.startsWith("rig.only="))?.slice("rig.only=".length) ?? "",
);

function boot(options: GuestOptions, ending: Ending): Test {
  return {
    group: "boot",
    name: `${options.kernel}, -smp ${options.cpus}`,
    run: (test) => bootTest(test, options, ending),
  };
}

const endings: readonly Ending[] = ["poweroff", "power button"];
const boots = full
  ? (["bzImage", "PVH"] as const).flatMap((kernel, i) =>
    [1, 2, 4].map((cpus, j) => boot({ kernel, cpus }, endings[(i + j) % 2] ?? "poweroff"))
  )
  : [boot({ kernel: "bzImage", cpus: 2 }, "power button")];

await using busy = new BusyGuest({ kernel: "PVH", cpus: 2 });
const tests: readonly Test[] = [
  versionTest,
  heartbeatTest,
  ...boots,
  ...updates.map((update) => updateTest(busy, update, full ? 10 : 1)),
  aftermathTest(busy),
];

const tell = openPort("/dev/ttyS1");
for (const test of tests) {
  if (`${test.group}:${test.name}`.includes(only)) await runTest(test, tell);
}
tell({ kind: "end" });
