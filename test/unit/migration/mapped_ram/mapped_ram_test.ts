import { assert, assertEquals, assertRejects } from "@std/assert";
import { IncomingFile, OutgoingFile } from "../../../../src/channel/file.ts";
import { ChannelCancelled } from "../../../../src/native/channel.ts";
import { Descriptor } from "../../../../src/native/descriptor.ts";
import { openFile, OpenFlags, status, writeAt } from "../../../../src/native/file.ts";
import { loadMappedRam } from "../../../../src/migration/mapped_ram/receiver.ts";
import { MigrationCancelled, MigrationError } from "../../../../src/migration/errors.ts";
import { fixture } from "../../../golden/fixtures.ts";
import {
  anonymousBlock,
  fillPage,
  listOf,
  load,
  memfdBlock,
  PAGE,
  pageOf,
  save,
  saveTo,
  sourcesOf,
} from "./files.ts";

/** A folder that is removed afterwards. */
function folder(): { path: string } & Disposable {
  const path = Deno.makeTempDirSync();
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

/** RAM with written, written but zero, and untouched pages, in more than one chunk of a thread. */
function specimen() {
  const main = memfdBlock("ram0", 3000);
  const small = anonymousBlock("pc.bios", 33);
  for (let page = 64; page < 1500; page++) fillPage(main, page, page);
  pageOf(main, 1600).fill(0);
  for (const page of [0, 1700, 2047, 2048, 2999]) fillPage(main, page, page + 10_000);
  fillPage(small, 32, 77);
  return [main, small] as const;
}

function assertSame(actual: Uint8Array, expected: Uint8Array): void {
  assertEquals(actual.length, expected.length);
  assertEquals(actual.findIndex((byte, i) => byte !== expected[i]), -1);
}

for (
  const manner of [
    {},
    { channels: 3 },
    { channels: 2, directIo: true },
    { channels: 2, offset: 5000 },
    { detectZero: false },
  ]
) {
  Deno.test(`RAM survives the way through a file: ${JSON.stringify(manner)}`, async () => {
    using temporary = folder();
    // O_DIRECT needs a file system that has it: the one of the sources has, /tmp need not.
    const path = `${temporary.path}/snapshot`;
    const saved = specimen();
    await save(path, saved, manner);
    const loaded = [memfdBlock("ram0", 3000), anonymousBlock("pc.bios", 33)] as const;
    for (const block of loaded) fillPage(block, 3, 5);
    await load(path, loaded, manner);
    saved.forEach((block, i) => assertSame(loaded[i]!.mapping.bytes, block.mapping.bytes));
    for (const block of [...saved, ...loaded]) block[Symbol.dispose]();
  });
}

Deno.test("several threads and O_DIRECT write the same file as one thread, byte for byte", async () => {
  using temporary = folder();
  const saved = specimen();
  const path = (name: string) => `${temporary.path}/${name}`;
  await save(path("one"), saved);
  await save(path("three"), saved, { channels: 3 });
  await save(path("direct"), saved, { channels: 2, directIo: true });
  const one = Deno.readFileSync(path("one"));
  assertSame(Deno.readFileSync(path("three")), one);
  assertSame(Deno.readFileSync(path("direct")), one);
  for (const block of saved) block[Symbol.dispose]();
});

Deno.test("zero and untouched pages take no room in the file, and no memory when they are loaded", async () => {
  using temporary = folder();
  const path = `${temporary.path}/snapshot`;
  using block = memfdBlock("ram0", 8192);
  for (let page = 100; page < 200; page++) fillPage(block, page, page);
  for (let page = 300; page < 400; page++) pageOf(block, page).fill(0);
  await save(path, [block]);
  using file = openFile(path, OpenFlags.readOnly);
  const { size, allocated } = status(file.fd);
  assert(size > 8192 * PAGE);
  assert(allocated < 120 * PAGE, `${allocated} bytes on disk`);

  using target = memfdBlock("ram0", 8192);
  await load(path, [target], { channels: 2 });
  assertEquals(target.backing.kind, "descriptor");
  if (target.backing.kind !== "descriptor") return;
  assertEquals(status(target.backing.descriptor.fd).allocated, 100 * PAGE);
});

Deno.test("the layout is QEMU's: bitmap behind the header, pages from the next 1 MiB of the file on", async () => {
  using temporary = folder();
  const path = `${temporary.path}/snapshot`;
  const blocks = [memfdBlock("microvm.ram", 2048), memfdBlock("pc.bios", 16)] as const;
  await save(path, blocks, { offset: 8192 });
  const qemu = await fixture("mapped-ram-offset8192.mig");
  await Deno.writeFile(`${temporary.path}/qemu`, qemu);
  using ours = IncomingFile.open(path, 8192);
  using theirs = IncomingFile.open(`${temporary.path}/qemu`, 8192);
  assertEquals(await listOf(ours), await listOf(theirs));
  for (const block of blocks) block[Symbol.dispose]();
});

for (const name of ["mapped-ram", "mapped-ram-dirty"]) {
  Deno.test(`QEMU's ${name}.mig gives the memory that QEMU's guest had`, async () => {
    using temporary = folder();
    const path = `${temporary.path}/snapshot`;
    await Deno.writeFile(path, await fixture(`${name}.mig`));
    using main = memfdBlock("microvm.ram", 2048);
    using firmware = anonymousBlock("pc.bios", 16);
    for (let page = 0; page < 2048; page += 7) fillPage(main, page, page);
    await load(path, [main, firmware], { channels: 2 });
    // The dump shows the firmware in front of the RAM behind it.
    main.mapping.bytes.set(firmware.mapping.bytes, 0xf0000);
    assertSame(main.mapping.bytes, await fixture(`${name}.ram`));
  });
}

Deno.test("a block that is not saved has neither bitmap nor pages, and is left alone by a load", async () => {
  using temporary = folder();
  const path = `${temporary.path}/snapshot`;
  const [main, firmware] = specimen();
  await save(path, [], {
    listings: [
      { block: main, guestAddress: 0, ignored: true },
      { block: firmware, guestAddress: 0xfffe0000, ignored: false },
    ],
  });
  using file = IncomingFile.open(path);
  const [first, second] = await listOf(file);
  assertEquals(first?.mapped, undefined);
  assertEquals(second?.guestAddress, 0xfffe0000);
  assert(file.size < 3 << 20);
  using target = anonymousBlock("ram0", 3000);
  using bios = anonymousBlock("pc.bios", 33);
  fillPage(target, 9, 9);
  const before = pageOf(target, 9).slice();
  await load(path, [target, bios]);
  assertSame(bios.mapping.bytes, firmware.mapping.bytes);
  assertSame(pageOf(target, 9), before);
  main[Symbol.dispose]();
  firmware[Symbol.dispose]();
});

Deno.test("a file that lacks pages or bitmaps is refused by block and offset, with memory untouched", async () => {
  using temporary = folder();
  const path = `${temporary.path}/snapshot`;
  const saved = specimen();
  await save(path, saved);
  using target = memfdBlock("ram0", 3000);
  using bios = memfdBlock("pc.bios", 33);
  using file = IncomingFile.open(path);
  const sources = await sourcesOf(file, [target, bios]);
  const [main, small] = sources.map(({ place }) => place);
  if (main === undefined || small === undefined) throw new Error("a block is missing");
  const ends = [
    small.pagesOffset + 32 * PAGE,
    small.bitmapOffset + 3,
    main.pagesOffset + 2999 * PAGE + 1,
    main.pagesOffset + 70 * PAGE,
    main.bitmapOffset + 8,
  ];
  for (const end of ends) {
    // The list was read before: what is checked here is what it says of the file.
    await Deno.truncate(path, end);
    const error = await assertRejects(
      () => loadMappedRam({ file, sources, channels: 2, directIo: false }),
      MigrationError,
    );
    assert(/has \d+ bytes, but block '(ram0|pc.bios)' has its (bitmap|page)/.test(error.message));
    if (target.backing.kind === "descriptor") {
      assertEquals(status(target.backing.descriptor.fd).allocated, 0);
    }
  }
  for (const block of saved) block[Symbol.dispose]();
});

Deno.test("bits behind the last page and pages behind clear bits are ignored", async () => {
  using temporary = folder();
  const path = `${temporary.path}/snapshot`;
  using block = memfdBlock("ram0", 70);
  fillPage(block, 69, 1);
  await save(path, [block]);
  using file = openFile(path, OpenFlags.readWrite);
  using incoming = IncomingFile.open(path);
  const place = (await sourcesOf(incoming, [block]))[0]?.place;
  if (place === undefined) throw new Error("the block is missing");
  writeAt(file.fd, new Uint8Array([0xff, 0xff, 0xff]), place.bitmapOffset + 13);
  writeAt(file.fd, new Uint8Array(PAGE).fill(7), place.pagesOffset);
  using target = memfdBlock("ram0", 70);
  await load(path, [target]);
  assertSame(target.mapping.bytes, block.mapping.bytes);
});

Deno.test("a write that fails names file, block and offset, and leaves no file", async () => {
  using temporary = folder();
  const path = `${temporary.path}/snapshot`;
  const saved = specimen();
  // As when the disk is full: the descriptor takes the stream, but no page.
  using file = OutgoingFile.create(path);
  file.openDirect = () => new Descriptor(openFile("/dev/full", OpenFlags.writeOnly).release());
  const error = await assertRejects(
    () => saveTo(file, saved, { channels: 2, directIo: true }),
    MigrationError,
  );
  assert(
    /^Could not write the page at 0x[0-9a-f]+ of block 'ram0' to '.*\/snapshot' at offset 0x[0-9a-f]+: No space left on device$/
      .test(error.message),
    error.message,
  );
  assertEquals([...Deno.readDirSync(temporary.path)], []);
  for (const block of saved) block[Symbol.dispose]();
});

Deno.test("a cancelled save ends soon, and leaves no file", async () => {
  using temporary = folder();
  const block = memfdBlock("ram0", 65536);
  block.mapping.bytes.fill(1);
  {
    using file = OutgoingFile.create(`${temporary.path}/snapshot`);
    const saving = saveTo(file, [block], { channels: 2 });
    setTimeout(() => file.cancel(), 5);
    const error = await assertRejects(() => saving);
    assert(error instanceof MigrationCancelled || error instanceof ChannelCancelled);
  }
  assertEquals([...Deno.readDirSync(temporary.path)], []);
  block[Symbol.dispose]();
});
