import { assertEquals } from "@std/assert";
import { duplicate } from "../../../src/native/descriptor.ts";
import { awaitChild, spawn } from "../../../src/native/process.ts";
import { createErrorFile, printedTo } from "../../../src/process/captured_errors.ts";

/** What an error repeats of what a shell script prints to its standard error. */
async function printedBy(script: string): Promise<string> {
  using file = createErrorFile();
  const pid = spawn(["/bin/sh", "-c", script], { descriptors: [[file.fd, 2]] });
  await awaitChild(pid);
  using same = duplicate(file.fd);
  return printedTo(same.fd);
}

Deno.test("an error repeats what a program printed, in one line", async () => {
  assertEquals(await printedBy(":"), "");
  assertEquals(await printedBy("echo >&2"), "");
  assertEquals(await printedBy("echo not here"), "");
  assertEquals(await printedBy("echo one >&2"), ", having printed: one");
  assertEquals(
    await printedBy("echo 'one ' >&2; echo >&2; (printf ' two' >&2)"),
    ", having printed: one | two",
  );
});

Deno.test("of many lines the first and the last ones are repeated", async () => {
  assertEquals(
    await printedBy("for n in 1 2 3 4 5 6 7 8 9; do echo $n >&2; done"),
    ", having printed: 1 | ... | 6 | 7 | 8 | 9",
  );
});

Deno.test("a program that prints without end gets an error, and what came first is kept", async () => {
  const printed = await printedBy("echo first >&2; yes next >&2; echo $? >&2");
  assertEquals(printed.startsWith(", having printed: first | ... | next | next"), true, printed);
});
