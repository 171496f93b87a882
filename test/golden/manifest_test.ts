import { assertEquals } from "@std/assert";
import { fixture } from "./fixtures.ts";

Deno.test("every golden file is the one that MANIFEST.md lists", async () => {
  const manifest = await Deno.readTextFile(new URL("./MANIFEST.md", import.meta.url));
  const listed = new Map<string, string>();
  for (const [, name, , hash] of manifest.matchAll(/^\| (\S+) \| (\d+) \| ([0-9a-f]{64}) \|/gm)) {
    if (name !== undefined && hash !== undefined) listed.set(name, hash);
  }
  const directory = new URL("./qemu-11.1.3/", import.meta.url);
  const found = new Map<string, string>();
  for (const entry of Deno.readDirSync(directory)) {
    const name = entry.name.replace(/\.gz$/, "");
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await fixture(name)));
    found.set(name, Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join(""));
  }
  assertEquals([...found].sort(), [...listed].sort());
});
