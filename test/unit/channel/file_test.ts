import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { DescriptorStore } from "../../../src/backends/descriptor_store.ts";
import { IncomingFile, OutgoingFile } from "../../../src/channel/file.ts";
import { createHidden } from "../../../src/channel/new_file.ts";
import { ChannelCancelled } from "../../../src/native/channel.ts";
import { openFile, OpenFlags, statusFlags, writeAt } from "../../../src/native/file.ts";

const bytes = (text: string) => new Uint8Array(new TextEncoder().encode(text));

/** A folder that is removed afterwards. */
function folder(): { path: string } & Disposable {
  const path = Deno.makeTempDirSync();
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

const names = (path: string) => [...Deno.readDirSync(path)].map(({ name }) => name).sort();

Deno.test("a new file has its name only when it is finished, and belongs to its owner alone", async () => {
  using temporary = folder();
  const path = `${temporary.path}/snapshot`;
  using file = OutgoingFile.create(path);
  await file.write(bytes("the whole migration"));
  assertEquals(names(temporary.path), []);
  await file.finish();
  assertEquals(Deno.readTextFileSync(path), "the whole migration");
  assertEquals((Deno.statSync(path).mode ?? 0) & 0o777, 0o600);
});

Deno.test("a file that is not finished never existed", async () => {
  using temporary = folder();
  {
    using file = OutgoingFile.create(`${temporary.path}/snapshot`);
    await file.write(bytes("half of it"));
  }
  assertEquals(names(temporary.path), []);
});

Deno.test("a file that exists is overwritten in place from the offset on", async () => {
  using temporary = folder();
  const path = `${temporary.path}/snapshot`;
  Deno.writeTextFileSync(path, "0123456789abcdef");
  const { ino } = Deno.statSync(path);
  using file = OutgoingFile.create(path, 10);
  assertEquals(file.position, 10);
  assertEquals(Deno.readTextFileSync(path), "0123456789");
  await file.write(bytes("new"));
  await file.finish();
  assertEquals(Deno.readTextFileSync(path), "0123456789new");
  assertEquals(Deno.statSync(path).ino, ino);
});

Deno.test("a file that appears while another is written is replaced as a whole", async () => {
  using temporary = folder();
  const path = `${temporary.path}/snapshot`;
  using file = OutgoingFile.create(path);
  await file.write(bytes("complete"));
  Deno.writeTextFileSync(path, "somebody else's, and longer");
  await file.finish();
  assertEquals(Deno.readTextFileSync(path), "complete");
  assertEquals(names(temporary.path), ["snapshot"]);
});

Deno.test("a symbolic link to nothing gets what it leads to", async () => {
  using temporary = folder();
  Deno.mkdirSync(`${temporary.path}/images`);
  Deno.symlinkSync("images/today", `${temporary.path}/latest`);
  using file = OutgoingFile.create(`${temporary.path}/latest`);
  await file.write(bytes("x"));
  await file.finish();
  assertEquals(names(`${temporary.path}/images`), ["today"]);
  assert(Deno.lstatSync(`${temporary.path}/latest`).isSymlink);
});

Deno.test("without O_TMPFILE, a hidden file in the same folder is renamed when it is complete", async () => {
  using temporary = folder();
  const path = `${temporary.path}/snapshot`;
  {
    using file = createHidden(path);
    writeAt(file.descriptor.fd, bytes("complete"), 0);
    assertEquals(names(temporary.path), [`.snapshot.${Deno.pid}`]);
    await file.keep();
  }
  assertEquals(names(temporary.path), ["snapshot"]);
  assertEquals(Deno.readTextFileSync(path), "complete");
  createHidden(path)[Symbol.dispose]();
  assertEquals(names(temporary.path), ["snapshot"]);
});

Deno.test("what cannot be created says so in QEMU's words", () => {
  using temporary = folder();
  const refusal = (path: string) => assertThrows(() => OutgoingFile.create(path), Error).message;
  assertEquals(
    refusal("/nonexistent/x"),
    "Could not create '/nonexistent/x': No such file or directory",
  );
  assertEquals(
    refusal(temporary.path),
    `Could not create '${temporary.path}': Is a directory`,
  );
  assertEquals(
    refusal("/dev/full"),
    "failed to truncate migration file to offset 0: Invalid argument",
  );
});

Deno.test("a set's members are chosen by access mode and O_DIRECT; one that is missing is named by its flags", async () => {
  using temporary = folder();
  const path = `${temporary.path}/snapshot`;
  using given = new DescriptorStore();
  given.addToSet(7, openFile(path, OpenFlags.writeOnly | OpenFlags.create), undefined);
  {
    using file = OutgoingFile.create("/dev/fdset/7", 0, given.openPath);
    await file.write(bytes("through a set"));
    const refusal = assertThrows(() => file.openDirect(), Error);
    assertEquals(
      refusal.message,
      "Failed to find file descriptor with matching flags=0x4001",
    );
    given.addToSet(7, openFile(path, OpenFlags.writeOnly | OpenFlags.direct), undefined);
    using direct = file.openDirect();
    assert(statusFlags(direct.fd) & OpenFlags.direct);
    await file.finish();
  }
  assertEquals(Deno.readTextFileSync(path), "through a set");
  const refusal = assertThrows(() => IncomingFile.open("/dev/fdset/7", 0, given.openPath), Error);
  assertEquals(refusal.message, "Failed to find file descriptor with matching flags=0x0");
});

Deno.test("a cancelled file takes no more bytes and gets no name", async () => {
  using temporary = folder();
  using file = OutgoingFile.create(`${temporary.path}/snapshot`);
  await file.write(bytes("half"));
  file.cancel();
  await assertRejects(() => file.write(bytes("more")), ChannelCancelled);
  await assertRejects(() => file.finish(), ChannelCancelled);
  assertEquals(names(temporary.path), []);
});
