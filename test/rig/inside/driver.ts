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
const only = decodeURIComponent(valueOf("rig.only") ?? "");
/** How many updates of each kind. */
const count = Number(valueOf("rig.count") ?? (full ? 10 : 2));

function valueOf(name: string): string | undefined {
  return words.find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1);
}

function boot(options: GuestOptions, ending: Ending): Test {
  return {
    group: "boot",
    name: `${options.kernel}, -smp ${options.cpus}`,
    run: (test) => bootTest(test, options, ending),
  };
}

const boots = full
  ? (["bzImage", "PVH"] as const).flatMap((kernel, i) =>
    [1, 2, 4].map((cpus, j) => boot({ kernel, cpus }, (i + j) % 2 ? "power button" : "poweroff"))
  )
  : [
    boot({ kernel: "bzImage", cpus: 2 }, "power button"),
    boot({ kernel: "PVH", cpus: 1 }, "poweroff"),
    boot({ kernel: "bzImage", cpus: 4 }, "poweroff"),
  ];

await using busy = new BusyGuest({ kernel: "PVH", cpus: 2 });
const tests: readonly Test[] = [
  versionTest,
  heartbeatTest,
  ...boots,
  ...updates.map((update) => updateTest(busy, update, count)),
  aftermathTest(busy),
];

const tell = openPort("/dev/ttyS1");
for (const test of tests) {
  if (`${test.group}:${test.name}`.includes(only)) await runTest(test, tell);
}
tell({ kind: "end" });
