import { assertEquals, assertThrows } from "@std/assert";
import { CommandError } from "../../../src/monitor/errors.ts";
import { ObjectTree } from "../../../src/monitor/object_tree.ts";

Deno.test("objects are found by absolute paths and by their unique ends", () => {
  const tree = new ObjectTree();
  let size = 4096;
  tree.add("/objects/ram0", {
    type: "memory-backend-ram",
    properties: {
      size: {
        type: "int",
        get: () => size,
        set: (value) => {
          if (typeof value !== "number") throw new CommandError("a number is needed");
          size = value;
        },
      },
    },
  });
  tree.add("/objects/ram1", { type: "memory-backend-ram" });
  tree.add("/machine", { type: "microvm-machine" });
  tree.add("/machine/peripheral/ram1", { type: "pc-dimm" });
  assertEquals(tree.list("/").map(({ name }) => name), ["type", "objects", "machine"]);
  assertEquals(tree.get("/objects/ram0", "size"), 4096);
  assertEquals(tree.get("ram0", "size"), 4096);
  assertEquals(tree.get("/", "machine"), "/machine");
  assertEquals(tree.get("objects/ram1", "type"), "memory-backend-ram");
  tree.set("/objects/ram0", "size", 8192);
  assertEquals(tree.get("/objects/ram0", "size"), 8192);
  assertThrows(() => tree.get("ram1", "type"), CommandError, "does not uniquely identify");
  assertThrows(() => tree.get("/objects/ram2", "type"), CommandError, "not found");
  assertThrows(() => tree.set("/objects/ram0", "type", "x"), CommandError, "not writable");
  assertThrows(
    () => tree.add("/objects/ram0", { type: "x" }),
    CommandError,
    "attempt to add duplicate property 'ram0' to object (type 'container')",
  );
  tree.remove("/objects/ram1");
  assertEquals(tree.has("/objects/ram1"), false);
  assertEquals(tree.get("ram1", "type"), "pc-dimm");
});
