import { assertEquals, assertThrows } from "@std/assert";
import { DescriptorStore, DescriptorStoreError } from "../../../src/backends/descriptor_store.ts";
import { DescriptorSetError } from "../../../src/native/descriptor_path.ts";
import { duplicate, setCloseOnExec } from "../../../src/native/descriptor.ts";
import { Errno } from "../../../src/native/errors.ts";
import { createPipe, openFile, OpenFlags, status, write } from "../../../src/native/file.ts";
import { openDescriptors } from "./bench.ts";

Deno.test("a named descriptor is taken once, and replaced or closed by its name", () => {
  const before = openDescriptors();
  {
    using store = new DescriptorStore();
    const [reader, writer] = createPipe();
    store.setNamed("a", reader);
    store.setNamed("a", writer);
    assertEquals(reader.closed, true);
    store.closeNamed("a");
    assertEquals(writer.closed, true);
    assertThrows(
      () => store.closeNamed("a"),
      DescriptorStoreError,
      "File descriptor named 'a' not found",
    );
    const [left, right] = createPipe();
    store.setNamed("left", left);
    using taken = store.takeNamed("left");
    assertEquals(taken, left);
    assertEquals(store.takeNamed("left"), undefined);
    assertThrows(
      () => store.setNamed("1", right),
      DescriptorStoreError,
      "Parameter 'fdname' expects a name not starting with a digit",
    );
    assertEquals(right.closed, true);
  }
  assertEquals(openDescriptors(), before);
});

Deno.test("a set gives a duplicate of the member that was opened as asked", () => {
  const before = openDescriptors();
  {
    using store = new DescriptorStore();
    const [reader, writer] = createPipe();
    const first = store.addToSet(undefined, reader, undefined);
    assertEquals(first.id, 0);
    const second = store.addToSet(0, writer, "for output");
    const [another, unused] = createPipe();
    using _unused = unused;
    assertEquals(store.addToSet(undefined, another, undefined).id, 1);
    assertEquals(store.listSets(), [
      { id: 1, members: [{ fd: another.fd, opaque: undefined }] },
      {
        id: 0,
        members: [{ fd: first.fd, opaque: undefined }, { fd: second.fd, opaque: "for output" }],
      },
    ]);
    using opened = store.openPath("/dev/fdset/0", OpenFlags.writeOnly | OpenFlags.create);
    assertEquals(status(opened.fd), status(second.fd));
    store.removeFromSet(0, second.fd);
    assertThrows(() => store.openPath("/dev/fdset/0", OpenFlags.writeOnly), DescriptorSetError);
    assertThrows(
      () => store.removeFromSet(1, 9999),
      DescriptorStoreError,
      "File descriptor named 'fdset-id:1, fd:9999' not found",
    );
    assertThrows(
      () => store.removeFromSet(2),
      DescriptorStoreError,
      "File descriptor named 'fdset-id:2' not found",
    );
  }
  assertEquals(openDescriptors(), before);
});

/** A store whose set 7 has one member, opened with `flags`. */
function storeWith(path: string, flags: number): DescriptorStore {
  const store = new DescriptorStore();
  store.addToSet(7, openFile(path, flags), undefined);
  return store;
}

Deno.test("what a set cannot give is refused with QEMU's texts and errno values", () => {
  using store = storeWith("/dev/null", OpenFlags.readWrite);
  const { readOnly, writeOnly, readWrite, create, truncate, direct } = OpenFlags;
  const matching = "Failed to find file descriptor with matching flags=";
  const cases: [path: string, flags: number, text: string, errno: number][] = [
    ["/dev/fdset/7", readOnly, `${matching}0x0`, Errno.EACCES],
    ["/dev/fdset/7", writeOnly | create | truncate, `${matching}0x241`, Errno.EACCES],
    ["/dev/fdset/7", readWrite | direct, `${matching}0x4002`, Errno.EACCES],
    ["/dev/fdset/8", readWrite, "Failed to find fdset /dev/fdset/8", Errno.ENOENT],
    ...["", "x", "7x", "7/", "-7", "0x7", "99999999999"].map((number) =>
      [
        `/dev/fdset/${number}`,
        readWrite,
        `Could not parse fdset /dev/fdset/${number}`,
        Errno.EINVAL,
      ] as [string, number, string, number]
    ),
  ];
  for (const [path, flags, text, errno] of cases) {
    const error = assertThrows(() => store.openPath(path, flags), DescriptorSetError);
    assertEquals([error.message, error.errno], [text, errno], path);
  }
  for (const spelling of ["07", "+7", " 7"]) {
    using _ = store.openPath(`/dev/fdset/${spelling}`, readWrite);
  }
});

Deno.test("a member is emptied, and writes at its end, as a path would have been opened", () => {
  const path = Deno.makeTempFileSync();
  try {
    Deno.writeTextFileSync(path, "before");
    using store = storeWith(path, OpenFlags.writeOnly);
    const { writeOnly, create, truncate, append } = OpenFlags;
    {
      using log = store.openPath("/dev/fdset/7", writeOnly | create | append);
      write(log.fd, new TextEncoder().encode(" and after"));
      assertEquals(Deno.readTextFileSync(path), "before and after");
    }
    using file = store.openPath("/dev/fdset/7", writeOnly | create | truncate);
    write(file.fd, new TextEncoder().encode("anew"));
    assertEquals(Deno.readTextFileSync(path), "anew");
  } finally {
    Deno.removeSync(path);
  }
  using store = new DescriptorStore();
  const [reader, writer] = createPipe();
  using _ = reader;
  const { fd } = store.addToSet(7, writer, undefined);
  assertThrows(
    () => store.openPath("/dev/fdset/7", OpenFlags.writeOnly | OpenFlags.truncate),
    DescriptorSetError,
    `Failed to dup() given file descriptor fd=${fd}`,
  );
});

Deno.test("a set without members is listed while a duplicate is open, and its number is not given again", () => {
  using store = new DescriptorStore();
  const { fd } = store.addToSet(undefined, openFile("/dev/null", OpenFlags.readOnly), undefined);
  const duplicate = store.openPath("/dev/fdset/0", OpenFlags.readOnly);
  store.removeFromSet(0, fd);
  assertEquals(store.listSets(), [{ id: 0, members: [] }]);
  // As QEMU has it: there is nothing left to remove.
  store.removeFromSet(0);
  assertThrows(
    () => store.openPath("/dev/fdset/0", OpenFlags.readOnly),
    DescriptorSetError,
    "Failed to find file descriptor with matching flags=0x0",
  );
  const { id } = store.addToSet(
    undefined,
    openFile("/dev/null", OpenFlags.readOnly),
    undefined,
  );
  assertEquals(id, 1);
  duplicate[Symbol.dispose]();
  assertEquals(store.listSets().map(({ id }) => id), [1]);
});

/** Hands what `before` keeps to `after`, as a live update does. */
function handOver(before: DescriptorStore, after: DescriptorStore, named = true): void {
  const kept = new Map(
    before.descriptors({ named }).map(({ name, id, fd }) => [`${name} ${id}`, duplicate(fd)]),
  );
  after.restore(JSON.parse(JSON.stringify(before.save({ named }))), (name, id) => {
    const descriptor = kept.get(`${name} ${id}`);
    kept.delete(`${name} ${id}`);
    return descriptor;
  });
  assertEquals([...kept.keys()], []);
}

Deno.test("a successor has the sets, and what has a name only where clients stay", () => {
  const before = openDescriptors();
  {
    using first = new DescriptorStore();
    first.setNamed("a", openFile("/dev/null", OpenFlags.readOnly));
    first.addToSet(3, openFile("/dev/null", OpenFlags.readOnly), "for input");
    first.addToSet(3, openFile("/dev/null", OpenFlags.writeOnly), undefined);
    const opaque = (store: DescriptorStore) =>
      store.listSets().map(({ id, members }) => [id, ...members.map(({ opaque }) => opaque)]);
    using second = new DescriptorStore();
    handOver(first, second);
    assertEquals(opaque(second), [[3, "for input", undefined]]);
    using _a = second.takeNamed("a");
    assertEquals(_a?.closed, false);
    using third = new DescriptorStore();
    handOver(first, third, false);
    assertEquals(opaque(third), [[3, "for input", undefined]]);
    assertEquals(third.takeNamed("a"), undefined);
    // A source that kept its guest hands over once more.
    handOver(first, third, false);
    assertEquals(opaque(third), [[3, "for input", undefined]]);
  }
  assertEquals(openDescriptors(), before);
});

Deno.test("a set that whoever starts a successor gives it takes the place of its predecessor's", () => {
  using first = new DescriptorStore();
  first.addToSet(1, openFile("/dev/null", OpenFlags.readOnly), "old");
  first.addToSet(2, openFile("/dev/null", OpenFlags.readOnly), "old");
  using second = new DescriptorStore();
  const inherited = openFile("/dev/null", OpenFlags.readOnly);
  setCloseOnExec(inherited.fd, false);
  second.addInherited(inherited.release(), 1, "new");
  handOver(first, second);
  assertEquals(
    second.listSets().map(({ id, members }) => [id, ...members.map(({ opaque }) => opaque)]),
    [[2, "old"], [1, "new"]],
  );
});
