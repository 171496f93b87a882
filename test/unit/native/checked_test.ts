import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ArgumentRangeError } from "../../../src/native/checked.ts";
import { asFd } from "../../../src/native/descriptor.ts";
import { SystemError, unwrap } from "../../../src/native/errors.ts";
import { truncate } from "../../../src/native/file.ts";
import { native } from "../../../src/native/library.ts";
import { symbols, threadFunctions } from "../../../src/native/symbols.ts";
import { threads } from "../../../src/native/thread_pool.ts";

const EINVAL = 22;
const EOVERFLOW = 75;

Deno.test("a number that a C parameter cannot hold is the call's errno, and nothing is called", () => {
  for (const fd of [2 ** 31, -(2 ** 31) - 1, 99_999_999_999]) {
    assertEquals(native.molt_poll(fd, 0, 0), -EOVERFLOW);
  }
  assertEquals(native.molt_open(new Uint8Array(1), 0, -1), -EOVERFLOW);
  for (const fd of [0.5, NaN, Infinity, -Infinity]) {
    assertEquals(native.molt_poll(fd, 0, 0), -EINVAL);
  }
  // The runtime would take the lower 64 bits.
  assertEquals(native.molt_seek(0, 1n << 64n, 0), BigInt(-EOVERFLOW));
  assertEquals(native.molt_pread(0, new Uint8Array(8), -1n, 0n), BigInt(-EOVERFLOW));
});

Deno.test("the error says what could not be done, and why", () => {
  const error = assertThrows(
    () => unwrap(native.molt_poll(2 ** 40, 0, 0), "Could not wait for 'disk0'"),
    SystemError,
  );
  assertEquals(error.message, "Could not wait for 'disk0': Value too large for defined data type");
  assertThrows(() => truncate(asFd(-1), 2 ** 64), SystemError);
});

Deno.test("where the result is no errno, a number that does not fit is thrown", () => {
  const error = assertThrows(() => native.molt_guard_remove(2 ** 40), ArgumentRangeError);
  assertEquals(
    error.message,
    "1099511627776 does not fit the i32 that parameter 0 of molt_guard_remove is",
  );
});

Deno.test("functions that threads call are checked likewise", async () => {
  assertEquals(await threads.molt_sync(2 ** 31), -EOVERFLOW);
  assertEquals(await threads.molt_sync(1.5), -EINVAL);
  await assertRejects(() => threads.molt_sync("0" as unknown as number), TypeError);
});

Deno.test("all values that the types can hold arrive", () => {
  const memory = new Uint8Array(8);
  assertEquals(native.molt_bitmap_next(0n, 0n, 0n, 0xffff_ffff), 0n);
  assertEquals(native.molt_read(-1, memory, 0xffff_ffff_ffff_ffffn), -9n);
  assertEquals(native.molt_seek(-1, -1n, -(2 ** 31)), -9n);
});

Deno.test("the table has no type that is not checked", () => {
  const kinds = new Set(
    Object.values({ ...symbols, ...threadFunctions }).flatMap(({ parameters }): string[] => [
      ...parameters,
    ]),
  );
  assertEquals([...kinds].sort(), ["buffer", "i32", "i64", "u32", "u64"]);
});
