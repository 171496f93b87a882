import { assertEquals, assertThrows } from "@std/assert";
import { createPidFile } from "../../../src/process/pid_file.ts";
import { TemporaryDirectory } from "../../support/temporary_directory.ts";

Deno.test("a pid file that is new, empty or left by a process is taken over", () => {
  using directory = new TemporaryDirectory();
  const path = directory.file("pid");
  for (const before of [undefined, "", "4194303\n"]) {
    if (before !== undefined) Deno.writeTextFileSync(path, before);
    {
      using _file = createPidFile(path);
      assertEquals(Deno.readTextFileSync(path), `${Deno.pid}\n`);
      assertEquals((Deno.statSync(path).mode ?? 0) & 0o777, before === undefined ? 0o600 : 0o644);
    }
    assertThrows(() => Deno.statSync(path), Deno.errors.NotFound);
  }
});

Deno.test("a file that is no pid file is refused, and left as it was", () => {
  using directory = new TemporaryDirectory();
  const path = directory.file("notes");
  for (const content of ["127.0.0.1 localhost\n", "12 13\n", "1".repeat(100)]) {
    Deno.writeTextFileSync(path, content);
    assertThrows(() => createPidFile(path), Error, `'${path}' holds something other than`);
    assertEquals(Deno.readTextFileSync(path), content);
  }
  assertThrows(() => createPidFile("/dev/null"), Error, "'/dev/null' is not a regular file");
});
