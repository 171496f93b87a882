/** The checkout's own tests that need /dev/kvm, run by Deno in the machine in which molt runs. */
import { type CheckoutTest, checkoutTestName } from "../plan.ts";
import type { Test } from "./test.ts";

/** How long a file of tests may take, in seconds. */
const LIMIT = 1200;

/** Deno's closing line. */
const SUMMARY = /\| *(\d+) passed(?: \([^)]*\))? \| (\d+) failed/;

/** Runs one file of tests, or those of its tests that the filter names. */
export function checkoutTest(folder: string, chosen: CheckoutTest): Test {
  return {
    group: "tests",
    name: checkoutTestName(chosen),
    async run(test) {
      const { file, filter } = chosen;
      const some = filter === undefined ? [] : [`--filter=${filter}`];
      const process = new Deno.Command("deno", {
        args: ["test", "-A", "--no-check", "--cached-only", "--quiet", ...some, file],
        cwd: folder,
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
        signal: test.patience(LIMIT),
      }).spawn();
      const { success, stdout, stderr } = await process.output();
      const text = new TextDecoder().decode(stdout);
      const errors = new TextDecoder().decode(stderr);
      test.use({ describe: () => `${text}\n${errors}` });
      const [, passed = "0", failed = "?"] = SUMMARY.exec(text) ?? [];
      test.value("passed", passed);
      if (!success || Number(passed) === 0) throw new Error(`${failed} failed, ${passed} passed`);
    },
  };
}
