import { assertEquals, assertThrows } from "@std/assert";
import { checkImages } from "../../../src/backends/block/check.ts";
import { BlockImage } from "../../../src/backends/block/image.ts";
import { openToRead } from "../../../src/native/descriptor_path.ts";
import { DescriptorStore } from "../../../src/backends/descriptor_store.ts";
import { FileRng } from "../../../src/backends/rng.ts";
import { parseCommandLine } from "../../../src/cli/parse.ts";
import { EventLoop } from "../../../src/native/event_loop.ts";
import { openFile, OpenFlags } from "../../../src/native/file.ts";

/** A store whose set 1 has a mebibyte of zeros, opened in each of these ways. */
function storeWith(...modes: readonly number[]): DescriptorStore {
  const store = new DescriptorStore();
  const path = Deno.makeTempFileSync();
  Deno.truncateSync(path, 1 << 20);
  for (const mode of modes) store.addToSet(1, openFile(path, mode), undefined);
  Deno.removeSync(path);
  return store;
}

const { readOnly, writeOnly, readWrite } = OpenFlags;

/** The image of a -drive: whether it can be written. */
function openDrive(options: string, { openPath }: DescriptorStore): boolean {
  const { drives } = parseCommandLine(["-drive", `if=none,id=d,format=raw,${options}`]);
  checkImages({ drives, blockNodes: [] }, openPath);
  const node = drives[0]?.node;
  if (node === undefined) throw new Error("the drive has no image");
  using image = new BlockImage("d", node, () => undefined, {
    adopt: () => undefined,
    openPath,
    warn: () => {},
  });
  return !image.readOnly;
}

Deno.test("a disk's image is the member that fits it", () => {
  {
    using store = storeWith(readOnly, readWrite);
    assertEquals(openDrive("file=/dev/fdset/1", store), true);
    assertEquals(openDrive("file=/dev/fdset/1,readonly=on", store), false);
  }
  using onlyToRead = storeWith(readOnly);
  assertEquals(openDrive("file=/dev/fdset/1,auto-read-only=on", onlyToRead), false);
  const matching = "Failed to find file descriptor with matching flags=";
  const refusals: [options: string, members: readonly number[], text: string][] = [
    [
      "file=/dev/fdset/2",
      [readWrite],
      "-drive file=/dev/fdset/2: Failed to find fdset /dev/fdset/2",
    ],
    [
      "file=/dev/fdset/x",
      [readWrite],
      "-drive file=/dev/fdset/x: Could not parse fdset /dev/fdset/x",
    ],
    ["file=/dev/fdset/1", [writeOnly], `-drive file=/dev/fdset/1: ${matching}0x2`],
    // The check finds something to look at; the disk does not find what it needs.
    ["file=/dev/fdset/1", [readOnly], `${matching}0x2`],
    ["file=/dev/fdset/1,readonly=on", [readWrite], `${matching}0x0`],
    ["file=/dev/fdset/1,cache=none", [readWrite], `${matching}0x4002`],
  ];
  for (const [options, members, text] of refusals) {
    using store = storeWith(...members);
    assertEquals(assertThrows(() => openDrive(options, store), Error).message, text, options);
  }
});

Deno.test("what is only read takes any member that can be read", () => {
  using store = storeWith(writeOnly, readWrite);
  using _ = openToRead(store.openPath, "/dev/fdset/1");
  using none = storeWith(writeOnly);
  assertThrows(
    () => openToRead(none.openPath, "/dev/fdset/1"),
    Error,
    "Failed to find file descriptor with matching flags=0x2",
  );
});

Deno.test("rng-random reads a member", () => {
  using store = storeWith(readOnly);
  using loop = new EventLoop();
  const dependencies = { loop, report: () => {}, openPath: store.openPath };
  using rng = new FileRng("/dev/fdset/1", dependencies);
  assertEquals(rng.read(4, () => {}), new Uint8Array(4));
  assertThrows(
    () => new FileRng("/dev/fdset/7", dependencies),
    Error,
    "Failed to find fdset /dev/fdset/7",
  );
});
