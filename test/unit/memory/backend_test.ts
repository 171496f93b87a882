import { assertEquals, assertThrows } from "@std/assert";
import { createMemoryBackend } from "../../../src/memory/backend.ts";
import { TemporaryDirectory } from "../../support/temporary_directory.ts";

/** More than any address space has room for. */
const TOO_MUCH = 2 ** 48;

function file(path: string, size: number) {
  return {
    ...{ kind: "file", id: "ram0", path, size, share: true, offset: 0 } as const,
    ...{ readOnly: false, discardData: false },
  };
}

Deno.test("memory that cannot be had leaves no file behind, and none that was there is removed", () => {
  using directory = new TemporaryDirectory();
  const path = directory.file("memory");
  assertThrows(() => createMemoryBackend(file(path, TOO_MUCH), undefined), Error, path);
  assertThrows(() => Deno.statSync(path), Deno.errors.NotFound);

  Deno.writeTextFileSync(path, "");
  assertThrows(() => createMemoryBackend(file(path, TOO_MUCH), undefined), Error);
  assertEquals(Deno.statSync(path).isFile, true);
});

Deno.test({
  name: "memory that is preallocated on a full file system is refused with that reason" +
    (Deno.uid() === 0 ? "" : " (only root can mount one)"),
  ignore: Deno.uid() !== 0,
  fn: () => {
    using directory = new TemporaryDirectory();
    const mount = directory.file("small");
    Deno.mkdirSync(mount);
    run("mount", "-t", "tmpfs", "-o", "size=1m", "none", mount);
    try {
      const options = { ...file(`${mount}/memory`, 4 << 20), prealloc: true };
      const wanted =
        `Could not preallocate 4194304 bytes of '${mount}/memory': No space left on device`;
      assertThrows(() => createMemoryBackend(options, undefined), Error, wanted);
      assertEquals([...Deno.readDirSync(mount)], []);
    } finally {
      run("umount", mount);
    }
  },
});

function run(program: string, ...args: string[]): void {
  const { success, stderr } = new Deno.Command(program, { args }).outputSync();
  if (!success) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
}

Deno.test("memory in a file that was new or empty holds no guest's memory", () => {
  using directory = new TemporaryDirectory();
  const path = directory.file("memory");
  for (const created of [true, false]) {
    using block = createMemoryBackend(file(path, 8192), undefined);
    assertEquals(block.backing.kind === "path" && block.backing.created, created);
  }
});
