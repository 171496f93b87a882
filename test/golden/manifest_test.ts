import { assertEquals } from "@std/assert";
import { fixture, q35Fixture } from "./fixtures.ts";

const sets = [
  { manifest: "MANIFEST.md", folder: "qemu-11.1.3", read: fixture },
  { manifest: "qemu-11.1.3-q35.md", folder: "qemu-11.1.3-q35", read: q35Fixture },
];

for (const { manifest, folder, read } of sets) {
  Deno.test(`every golden file of ${folder} is the one that ${manifest} lists`, async () => {
    const text = await Deno.readTextFile(new URL(`./${manifest}`, import.meta.url));
    const listed = new Map<string, string>();
    for (const [, name, , hash] of text.matchAll(/^\| (\S+) \| (\d+) \| ([0-9a-f]{64}) \|/gm)) {
      if (name !== undefined && hash !== undefined) listed.set(name, hash);
    }
    const found = new Map<string, string>();
    for (const entry of Deno.readDirSync(new URL(`./${folder}/`, import.meta.url))) {
      const name = entry.name.replace(/\.gz$/, "");
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await read(name)));
      found.set(name, Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join(""));
    }
    assertEquals([...found].sort(), [...listed].sort());
  });
}
