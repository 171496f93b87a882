import { assertEquals } from "@std/assert";
import { savePhysicalMemory } from "../../../src/monitor/save_memory.ts";
import { openFile } from "../../../src/native/file.ts";
import { TemporaryDirectory } from "../../support/temporary_directory.ts";

Deno.test("guest memory in a file is its owner's only", () => {
  using directory = new TemporaryDirectory();
  const path = directory.file("memory");
  const before = Deno.umask(0o022);
  try {
    const memory = { readPhysical: (_address: number, length: number) => new Uint8Array(length) };
    savePhysicalMemory(memory, 0, 8192, path, openFile);
  } finally {
    Deno.umask(before);
  }
  assertEquals(Deno.statSync(path).size, 8192);
  assertEquals((Deno.statSync(path).mode ?? 0) & 0o777, 0o600);
});
