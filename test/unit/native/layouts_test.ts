import { assertEquals, assertStringIncludes } from "@std/assert";
import { layoutDifference, layoutTable } from "../../../src/native/layouts.ts";
import { native } from "../../../src/native/library.ts";

/** The C library's table of structures. */
function compiledTable(): string {
  const text = new Uint8Array(1 << 16);
  const length = Number(native.molt_abi(text, BigInt(text.length)));
  return new TextDecoder().decode(text.subarray(0, length));
}

Deno.test("the C compiler's table of structures and TypeScript's have the same entries", () => {
  const text = compiledTable();
  assertEquals(layoutDifference(text), undefined);
  assertEquals(text.trimEnd().split("\n").length, layoutTable().size);
});

Deno.test("a structure that has changed on one side is named, on whichever", () => {
  const text = compiledTable();
  const changed = text.replace(/^molt_disk_setup\.serial \d+$/m, "molt_disk_setup.serial 72");
  assertEquals(
    layoutDifference(changed),
    "molt_disk_setup.serial is 72 in the library and 64 in the program",
  );
  assertEquals(
    layoutDifference(text.replace(/^sizeof molt_element \d+\n/m, "")),
    "the library does not know sizeof molt_element",
  );
  assertEquals(
    layoutDifference(`${text}molt_element.flags 12\n`),
    "the program does not know molt_element.flags",
  );
});

Deno.test("the table is not cut off where there is too little room for it", () => {
  const ENOSPC = 28n;
  assertEquals(native.molt_abi(new Uint8Array(100), 100n), -ENOSPC);
});

Deno.test("a library from other sources is refused before anything is done with it", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/other.c`, "int other(void) { return 0; }\n");
    const built = await new Deno.Command("cc", {
      args: ["-shared", "-fPIC", "-o", `${folder}/other.so`, `${folder}/other.c`],
    }).output();
    assertEquals(built.success, true);
    const library = new URL("../../../src/native/library.ts", import.meta.url).href;
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", `await import(${JSON.stringify(library)})`],
      env: { MOLT_LIBRARY: `${folder}/other.so`, NO_COLOR: "1" },
    }).output();
    assertEquals(success, false);
    assertStringIncludes(
      new TextDecoder().decode(stderr),
      "The C library and this molt do not belong together: the library has no molt_",
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
