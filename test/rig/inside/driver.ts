/** The tests, inside the machine in which molt runs. */
import { allTests, boots, checkoutTests } from "../plan.ts";
import { bootTest } from "./boot.ts";
import { aftermathTest, BusyGuest, updateTest } from "./busy.ts";
import { checkoutTest } from "./checkout_tests.ts";
import { heartbeatTest, versionTest } from "./hardware.ts";
import { openPort, runTest, type Test, testName } from "./test.ts";
import { updates } from "./updates.ts";

/** The words on this machine's kernel's command line. */
const words = Deno.readTextFileSync("/proc/cmdline").trim().split(" ");
/** How many updates of each kind. */
const count = Number(valueOf("rig.count"));

function valueOf(name: string): string {
  const value = words.find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1);
  if (value === undefined) throw new Error(`this machine's kernel was not given ${name}`);
  return value;
}

await using busy = new BusyGuest({ kernel: "PVH", cpus: 2 });
const tests: readonly Test[] = [
  versionTest,
  heartbeatTest,
  ...boots.map(bootTest),
  ...updates.map((update) => updateTest(busy, update, count)),
  aftermathTest(busy),
  ...checkoutTests.map((test) => checkoutTest(valueOf("rig.checkout"), test)),
];

const report = openPort("/dev/ttyS1");
for (const number of valueOf("rig.tests").split(".")) {
  const name = allTests[Number(number)];
  const test = tests.find((test) => testName(test) === name);
  if (test === undefined) throw new Error(`there is no test ${number}: ${name}`);
  await runTest(test, report);
}
report({ kind: "end" });
