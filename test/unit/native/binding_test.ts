import { assertEquals, assertNotEquals } from "@std/assert";
import { bindTheRest } from "../../../src/native/binding.ts";
import { native, unboundFunctions } from "../../../src/native/library.ts";

Deno.test("functions of the C library are bound by their first call, the others in the background", async () => {
  assertNotEquals(unboundFunctions(), []);
  native.molt_poll(-1, 0, 0);
  assertEquals(unboundFunctions().includes("molt_poll"), false);
  await bindTheRest();
  assertEquals(unboundFunctions(), []);
  assertEquals(native.molt_read(-1, new Uint8Array(1), 1n), -9n);
});
