/** What is known of a program that cpr-exec is to execute, and that it is noticed if it is another one by then. */
import { assertEquals, assertThrows } from "@std/assert";
import {
  incomingWord,
  lookAtSuccessor,
  requireSame,
  type SuccessorKind,
} from "../../../src/migration/cpr/interim/successor_program.ts";
import { SUCCESSOR_NOTE } from "../../../src/migration/cpr/interim/protocol.ts";
import { TemporaryDirectory } from "../../support/temporary_directory.ts";

const main = new URL("../../../main.ts", import.meta.url).pathname;
const other = new URL("../../../scripts/demo.ts", import.meta.url).pathname;

Deno.test("a molt is known by its file, everything else is a script or another program", async () => {
  using directory = new TemporaryDirectory();
  const script = directory.file("script");
  // Its words are no evidence.
  Deno.writeTextFileSync(script, `#!/bin/sh\n# ${SUCCESSOR_NOTE}\n`, { mode: 0o755 });
  const carrier = directory.file("carrier");
  Deno.copyFileSync("/bin/true", carrier);
  Deno.writeTextFileSync(carrier, SUCCESSOR_NOTE, { append: true });
  const deno = Deno.execPath();
  const kinds: readonly (readonly [SuccessorKind, readonly string[]])[] = [
    ["takes from interim", [deno, "run", "-A", main, "-M", "microvm"]],
    ["takes from interim", [carrier, "-M", "microvm"]],
    ["other", [deno, "run", "-A", other]],
    ["other", [deno, "eval", main]],
    ["other", ["/bin/true", main]],
    ["other", ["/nonexistent/molt"]],
    ["other", [directory.file("")]],
    ["script", [script]],
    ["script", ["sh", "-c", `exec ${carrier}`]],
    ["script", ["/usr/bin/env", carrier]],
  ];
  for (const [kind, command] of kinds) {
    assertEquals((await lookAtSuccessor(command)).kind, kind, command.join(" "));
  }
});

Deno.test("a program that was replaced since it was looked at is refused", async () => {
  using directory = new TemporaryDirectory();
  const program = directory.file("program");
  Deno.copyFileSync("/bin/true", program);
  const seen = await lookAtSuccessor([program]);
  requireSame([program], seen);
  Deno.copyFileSync("/bin/true", `${program}.new`);
  Deno.renameSync(`${program}.new`, program);
  assertThrows(
    () => requireSame([program], seen),
    Error,
    `'${program}' was replaced while the update was under way`,
  );
  Deno.removeSync(program);
  // What execve says of it is better.
  requireSame([program], seen);
});

Deno.test("the last -incoming of a command counts", () => {
  assertEquals(incomingWord(["molt", "-M", "microvm"]), undefined);
  assertEquals(incomingWord(["molt", "-incoming", "defer", "--incoming", "file:x"]), "file:x");
});
