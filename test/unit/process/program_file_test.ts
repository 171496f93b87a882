/** Which file a command's first word leads to, and what is in it. */
import { assert, assertEquals } from "@std/assert";
import { fileAt, isSameFile, OpenProgram, programFile } from "../../../src/process/program_file.ts";
import { TemporaryDirectory } from "../../support/temporary_directory.ts";

const NOTE = "a note that is looked for";

Deno.test("a program is found as execvp finds it: in PATH, through links, if it may be executed", () => {
  using directory = new TemporaryDirectory();
  const folder = directory.file("");
  const path = directory.file("program");
  Deno.writeTextFileSync(path, "#!/bin/sh\n", { mode: 0o755 });
  Deno.symlinkSync(path, directory.file("link"));
  Deno.writeTextFileSync(directory.file("data"), "", { mode: 0o644 });

  const identity = fileAt(path);
  for (const word of [path, "./program", "./link"]) {
    const found = programFile(word, folder);
    assert(isSameFile(found?.identity, identity), word);
  }
  assertEquals(programFile("./data", folder), undefined);
  assertEquals(programFile("./nothing", folder), undefined);
  assertEquals(programFile("program", folder), undefined, "it is not in PATH");
  assert(isSameFile(programFile("sh", folder)?.identity, fileAt("/bin/sh")));

  Deno.copyFileSync(path, directory.file("other"));
  Deno.renameSync(directory.file("other"), path);
  assert(!isSameFile(programFile(path, folder)?.identity, identity), "another file by now");
});

Deno.test("a text is found wherever it lies in the last part of a program", async () => {
  using directory = new TemporaryDirectory();
  const path = directory.file("program");
  const size = 1 << 20;
  // At the beginning, at the end, and across where one part that is read ends.
  for (const at of [0, 7, size - NOTE.length, ...[1, 5, 20].map((n) => size - (256 << 10) - n)]) {
    const bytes = new Uint8Array(size);
    bytes.set(new TextEncoder().encode(NOTE), at);
    Deno.writeFileSync(path, bytes);
    using program = OpenProgram.open(path);
    assert(await program?.carries(NOTE), `at ${at}`);
  }
  Deno.writeFileSync(path, new Uint8Array(size));
  using program = OpenProgram.open(path);
  assertEquals(await program?.carries(NOTE), false);
  assertEquals(program?.isElf, false);
  using shell = OpenProgram.open("/bin/sh");
  assertEquals(shell?.isElf, true);
});
