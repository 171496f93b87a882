/** What can be seen before any Linux runs in molt: the program itself, and a small guest of ours. */
import { HeartbeatCheck } from "../../guests/heartbeat.ts";
import { TemporaryDirectory } from "../../support/temporary_directory.ts";
import { VirtualMachine } from "../../support/virtual_machine.ts";
import type { Test, TestContext } from "./test.ts";

const BEATS = 20;
const POLL_MILLISECONDS = 100;

/** The program starts and says what it is. */
export const versionTest: Test = {
  group: "hardware",
  name: "molt --version",
  async run(test) {
    const { success, stdout } = await new Deno.Command("molt", { args: ["--version"] }).output();
    const text = new TextDecoder().decode(stdout);
    if (!success || !/molt/.test(text)) throw new Error(`molt --version prints ${text}`);
    test.value("found", text.split("\n")[0] ?? "");
  },
};

/** The guest `heartbeat`: RAM, clocks and interrupts on two vCPUs, in ring 0 and in ring 3. */
export const heartbeatTest: Test = {
  group: "hardware",
  name: "heartbeat, -smp 2",
  run: heartbeat,
};

async function heartbeat(test: TestContext): Promise<void> {
  using directory = new TemporaryDirectory();
  const serial = directory.file("serial");
  await using machine = test.use(
    await VirtualMachine.start("molt", [
      ...["-M", "microvm", "-accel", "kvm", "-cpu", "host", "-smp", "2", "-m", "64M"],
      ...["-kernel", "/rig/heartbeat.elf", "-nodefaults", "-display", "none"],
      ...["-serial", `file:${serial}`],
    ], { directory }),
  );
  const signal = test.patience(60);
  for (;;) {
    signal.throwIfAborted();
    const check = new HeartbeatCheck();
    check.feed(await Deno.readTextFile(serial).catch(() => ""));
    if (check.problems.length > 0) throw new Error(check.problems.join("; "));
    if (check.beats >= BEATS) break;
    await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
  }
  test.value("found", `${BEATS} beats`);
  await machine.quit();
}
