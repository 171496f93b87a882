import { assertEquals, assertThrows } from "@std/assert";
import { createMemfd, status } from "../../../src/native/file.ts";
import { Mapping } from "../../../src/native/mapping.ts";
import { PageBitmap } from "../../../src/native/pages.ts";

const PAGE = 4096;

function pagesOf(bitmap: PageBitmap): number[] {
  return Array.from({ length: bitmap.pages }, (_, page) => page).filter((page) => bitmap.has(page));
}

Deno.test("ranges of a bitmap are filled, counted and found, across words and at their edges", () => {
  using bitmap = new PageBitmap(300);
  bitmap.fill(true, 63, 130);
  bitmap.fill(true, 299);
  bitmap.fill(false, 64, 65);
  assertEquals(bitmap.count(), 67);
  assertEquals(bitmap.count(64, 128), 63);
  assertEquals(bitmap.next(0), 63);
  assertEquals(bitmap.next(64), 65);
  assertEquals(bitmap.next(65, 300, false), 130);
  assertEquals(bitmap.next(130), 299);
  assertEquals(bitmap.next(130, 200), 200);
  assertEquals(bitmap.next(300), 300);
  assertEquals(bitmap.words[0], 1n << 63n);
  assertThrows(() => bitmap.fill(true, 0, 301), RangeError);
});

Deno.test("runs of set pages come in order, split at the longest allowed, as many as asked for", () => {
  using bitmap = new PageBitmap(256);
  bitmap.fill(true, 1, 3);
  bitmap.fill(true, 60, 140);
  assertEquals(bitmap.runs(0, 256, 10), [{ first: 1, count: 2 }, { first: 60, count: 80 }]);
  assertEquals(bitmap.runs(2, 100, 10, 32), [
    { first: 2, count: 1 },
    { first: 60, count: 32 },
    { first: 92, count: 8 },
  ]);
  assertEquals(bitmap.runs(0, 256, 1), [{ first: 1, count: 2 }]);
});

Deno.test("pages are zero only if every byte is", async () => {
  using memory = new Mapping({ kind: "anonymous" }, 600 * PAGE, "test");
  const places = [0, 1, 7, 8, 255, 256, 2047, 2048, 2055, 3000, 4088, 4095];
  places.forEach((place, i) => memory.bytes[(3 * i + 5) * PAGE + place] = 1 << (i & 7));
  using bitmap = new PageBitmap(600);
  bitmap.fill(true);
  await bitmap.dropZeroPages(memory, 0, 600);
  assertEquals(pagesOf(bitmap), places.map((_, i) => 3 * i + 5));
});

Deno.test("the zero scan leaves bits outside its range alone", async () => {
  using memory = new Mapping({ kind: "anonymous" }, 200 * PAGE, "test");
  using bitmap = new PageBitmap(200);
  bitmap.fill(true);
  await bitmap.dropZeroPages(memory, 10, 190);
  assertEquals(pagesOf(bitmap), [
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    ...Array(10).keys().map((i) => 190 + i),
  ]);
});

Deno.test("holes of a memfd are found without allocating them", async () => {
  const size = 1000 * PAGE;
  using descriptor = createMemfd("test", size);
  using memory = new Mapping(
    { kind: "file", fd: descriptor.fd, offset: 0, shared: true },
    size,
    "test",
  );
  for (const page of [3, 4, 500, 999]) memory.bytes[page * PAGE] = 1;
  const allocated = status(descriptor.fd).allocated;
  using bitmap = new PageBitmap(1000);
  bitmap.fill(true);
  await bitmap.dropFileHoles(descriptor.fd, 0, 0, 1000);
  assertEquals(pagesOf(bitmap), [3, 4, 500, 999]);
  assertEquals(status(descriptor.fd).allocated, allocated);

  // Data that goes on behind the range is reported.
  assertEquals(await bitmap.dropFileHoles(descriptor.fd, 0, 0, 4), 5);
  assertEquals(await bitmap.dropFileHoles(descriptor.fd, 0, 5, 500), 500);

  // The memory may begin anywhere in the file.
  bitmap.fill(true);
  await bitmap.dropFileHoles(descriptor.fd, 3 * PAGE, 0, 997);
  assertEquals(pagesOf(bitmap), [0, 1, 497, 996, 997, 998, 999]);
});

Deno.test("memory of this process that was never touched is found without touching it", async () => {
  using memory = new Mapping({ kind: "anonymous" }, 4000 * PAGE, "test");
  memory.bytes[1500 * PAGE] = 1;
  using bitmap = new PageBitmap(4000);
  bitmap.fill(true);
  await bitmap.dropUntouched(memory, 0, 4000);
  assertEquals(bitmap.has(1500), true);
  // The kernel may have given whole huge pages, never more.
  assertEquals(bitmap.count() <= 512, true);
  const before = bitmap.count();
  await bitmap.dropUntouched(memory, 0, 4000);
  assertEquals(bitmap.count(), before);
});
