/** The scripted migrations do what their help says, to machines of molt. */
import { assertEquals, assertMatch } from "@std/assert";
import { runTask, runTaskJson } from "../support/script_process.ts";
import { scriptScenarios } from "../support/script_scenarios.ts";
import { SurvivingMachine } from "../support/surviving_machine.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";

scriptScenarios("molt");

Deno.test("the scripted migrations report what they do, and refuse what makes no sense", async () => {
  using directory = new TemporaryDirectory();
  const nobody = ["--qmp", directory.file("nobody")];
  const cases: readonly (readonly [number, RegExp, ...string[]])[] = [
    [0, /^Usage: deno task update:exec --qmp ADDRESS/, "update:exec", "--help"],
    [0, /^Usage: deno task snapshot save\|restore/, "snapshot", "--help"],
    [2, /--qmp is missing/, "update:exec"],
    [
      2,
      /--qmp localhost:99999: .*port 99999 is above 65535/,
      "migrate",
      "--qmp",
      "localhost:99999",
    ],
    [2, /--timeout soon: a whole number is expected/, "migrate", ...nobody, "--timeout", "soon"],
    [2, /unknown option --fast/, "update:transfer", ...nobody, "--fast"],
    [2, /unexpected: now/, "update:transfer", ...nobody, "now"],
    [2, /unexpected: load: say save or restore/, "snapshot", "load", "--file", "x"],
    [2, /say what to do: save or restore/, "snapshot", "--file", "x"],
    [2, /--state is missing/, "update:reboot", "save", ...nobody],
    [
      2,
      /cannot read a command line from .*: give it after --/,
      "update:reboot",
      "resume",
      "--state",
      "x",
    ],
    [3, /cannot connect to .*nobody: No such file/, "update:exec", ...nobody],
    [0, /^Usage: deno task qmp ADDRESS/, "qmp", "--help"],
    [2, /^qmp: a COMMAND is missing/, "qmp", directory.file("nobody")],
    [2, /^qmp: migrate: .*JSON/, "qmp", directory.file("nobody"), "migrate {uri}"],
    [2, /^qmp: migrate: the arguments are no JSON object: \[\]/, "qmp", "nobody", "migrate []"],
    [2, /^qmp: --timeout soon: seconds are expected/, "qmp", "--timeout", "soon", "x", "quit"],
    [2, /^qmp: x:99999: .*port 99999 is above 65535/, "qmp", "x:99999", "quit"],
    [
      3,
      /cannot connect to .*nobody: No such/,
      "qmp",
      "--timeout=1",
      directory.file("nobody"),
      "quit",
    ],
  ];
  for (const [expected, text, task, ...args] of cases) {
    const { status, output, errorText } = await runTask(task ?? "", ...args);
    assertEquals(status, expected, `${task} ${args.join(" ")}: ${output}${errorText}`);
    assertMatch(expected === 0 ? output : errorText, text);
  }
});

Deno.test("update:transfer: a console with cpr=on goes over with its name, its log and its client", async () => {
  using directory = new TemporaryDirectory();
  await using machine = await SurvivingMachine.start(directory);
  const { user, vm } = machine;
  vm.qmp[Symbol.dispose]();
  user.type();
  await user.follow(2);
  // Its monitors: one of its own for the script, and one that survives.
  for (let time = 1; time <= 2; time++) {
    const log = ["--log", directory.file("said")];
    const { pid } = await runTaskJson(0, "update:transfer", "--qmp", vm.socket, ...log);
    machine.follow(pid);
    assertEquals(Deno.lstatSync(directory.file("console")).isSocket, true);
    await user.follow(2);
  }
  await user.rest();
  user.verify();
});
