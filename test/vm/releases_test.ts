/** Guests that earlier releases of molt have saved go on here. */
import { assertEquals } from "@std/assert";
import {
  releasedStream,
  releasedStreamNames,
  releasedStreams,
  releases,
} from "../golden/releases.ts";
import { Loader } from "../support/loader.ts";
import { guestImage } from "../support/programs.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";

for (const release of releases) {
  for (const name of releasedStreamNames) {
    Deno.test(`a guest of molt ${release} is loaded: ${name}`, async () => {
      using directory = new TemporaryDirectory();
      const path = directory.file("state");
      await Deno.writeFile(path, await releasedStream(release, name));
      const options = [
        ...releasedStreams[name](directory.path),
        ...["-accel", "kvm", "-nodefaults", "-display", "none", "-serial", "null"],
        ...["-kernel", guestImage("heartbeat.elf"), "-append", "memory=1 rate=5 period=200"],
      ];
      const capabilities = name === "mapped-ram.mig" ? ["mapped-ram" as const] : [];
      await using loader = new Loader(options, ...capabilities);
      assertEquals(await loader.load(path), undefined);
    });
  }
}
