import { assertEquals, assertMatch } from "@std/assert";
import { versionText } from "../../../src/cli/version.ts";
import { version } from "../../../src/version.ts";

Deno.test("the version is that of deno.json", async () => {
  const text = await Deno.readTextFile(new URL("../../../deno.json", import.meta.url));
  assertEquals(version, JSON.parse(text).version);
});

Deno.test("scripts find QEMU's version in the first line, people find molt's and the build", () => {
  assertMatch(
    versionText(),
    /^QEMU emulator version 11\.1\.\d+ \(molt \d+\.\d+\.\d+ build \S+\)\n/,
  );
  assertMatch(versionText(), /\nmolt \d+\.\d+\.\d+, build \S+: /);
});
