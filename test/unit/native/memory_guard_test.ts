import { assertEquals } from "@std/assert";
import { EventLoop } from "../../../src/native/event_loop.ts";
import { createMemfd, openFile, OpenFlags, status, truncate } from "../../../src/native/file.ts";
import { Mapping } from "../../../src/native/mapping.ts";
import { watchLostMemory } from "../../../src/native/memory_guard.ts";
import { PageBitmap } from "../../../src/native/pages.ts";
import { TemporaryDirectory } from "../../support/temporary_directory.ts";

const PAGE = 4096;
const SIZE = 16 * PAGE;

Deno.test("memory whose file is cut off reads as zeros, can be written, and is reported", async () => {
  using directory = new TemporaryDirectory();
  const path = directory.file("memory");
  Deno.writeFileSync(path, new Uint8Array(SIZE).fill(7));
  using file = openFile(path, OpenFlags.readWrite);
  using loop = new EventLoop();
  const served = loop.run();
  const reported = Promise.withResolvers<bigint>();
  for (const shared of [true, false]) {
    truncate(file.fd, SIZE);
    using mapping = new Mapping({ kind: "file", fd: file.fd, offset: 0, shared }, SIZE, path);
    using _ = watchLostMemory(loop, reported.resolve);
    assertEquals(mapping.lost, false);
    truncate(file.fd, PAGE);
    assertEquals(mapping.bytes[5 * PAGE + 3], 0);
    assertEquals(mapping.lost, true);
    if (shared) assertEquals(await reported.promise, mapping.address + BigInt(5 * PAGE + 3));
    mapping.bytes.fill(9, 4 * PAGE);
    assertEquals(mapping.bytes.subarray(4 * PAGE).every((byte) => byte === 9), true);
    // What is there still is the file's, which stays as it was cut off.
    assertEquals(mapping.bytes[PAGE - 1], 7);
    assertEquals(status(file.fd).size, PAGE);
  }
  loop.stop();
  await served;
});

Deno.test("the C library finds such memory too, and a mapping made later is not lost", async () => {
  using memfd = createMemfd("guarded", SIZE, { resizable: true });
  {
    using mapping = new Mapping(
      { kind: "file", fd: memfd.fd, offset: 0, shared: true },
      SIZE,
      "it",
    );
    mapping.bytes.fill(1);
    using written = new PageBitmap(SIZE / PAGE);
    written.fill(true);
    truncate(memfd.fd, 0);
    // On another thread.
    await written.dropZeroPages(mapping, 0, SIZE / PAGE);
    assertEquals([written.count(), mapping.lost], [0, true]);
  }
  truncate(memfd.fd, SIZE);
  using again = new Mapping({ kind: "file", fd: memfd.fd, offset: 0, shared: true }, SIZE, "it");
  assertEquals([again.bytes[0], again.lost], [0, false]);
});
