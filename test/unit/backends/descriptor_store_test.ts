import { assertEquals, assertThrows } from "@std/assert";
import { DescriptorStore, DescriptorStoreError } from "../../../src/backends/descriptor_store.ts";
import { createPipe, OpenFlags, status } from "../../../src/native/file.ts";
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
    assertEquals(store.listSets()[0], {
      id: 0,
      members: [{ fd: first.fd, opaque: undefined }, { fd: second.fd, opaque: "for output" }],
    });
    using opened = store.openFromSet(0, OpenFlags.writeOnly | OpenFlags.create);
    assertEquals(status(opened.fd), status(second.fd));
    assertThrows(
      () => store.openFromSet(1, OpenFlags.writeOnly | OpenFlags.create),
      DescriptorStoreError,
      "Failed to find file descriptor with matching flags=0x41",
    );
    assertThrows(() => store.openFromSet(7, 0), DescriptorStoreError, "set 7 not found");
    store.removeFromSet(0, second.fd);
    assertThrows(() => store.openFromSet(0, OpenFlags.writeOnly), DescriptorStoreError);
    store.removeFromSet(0);
    assertThrows(
      () => store.removeFromSet(0),
      DescriptorStoreError,
      "File descriptor named 'fdset-id:0' not found",
    );
    assertThrows(
      () => store.removeFromSet(1, 9999),
      DescriptorStoreError,
      "File descriptor named 'fdset-id:1, fd:9999' not found",
    );
    assertEquals(store.listSets().map(({ id }) => id), [1]);
  }
  assertEquals(openDescriptors(), before);
});
