import { assert, assertEquals } from "@std/assert";
import { StreamReader } from "../../src/migration/stream/stream_reader.ts";
import { knownSection } from "../../src/migration/stream/known_sections.ts";
import type { CpuState } from "../../src/kvm/cpu_state.ts";
import { fixture, streamNames, streamOffset } from "./fixtures.ts";
import { itemsOf, readerOf } from "./rewrite.ts";

Deno.test("a stream in small chunks gives the same items as in one piece, and a buffer that stays small", async () => {
  const bytes = await fixture("guest-default-virtio-modern.mig");
  const expected = Array.from(itemsOf(readerOf(bytes)), (item) => [item.kind, item.offset]);
  for (const size of [997, 65536]) {
    const reader = new StreamReader({ devices: knownSection });
    const actual: [string, number][] = [];
    let largest = 0;
    for (let from = 0; actual.at(-1)?.[0] !== "end";) {
      const item = reader.next();
      if (item !== undefined) {
        actual.push([item.kind, item.offset]);
        continue;
      }
      reader.push(bytes.subarray(from, from + size));
      from += size;
      largest = Math.max(largest, reader.bytes.buffer.byteLength);
    }
    assertEquals(actual, expected);
    assert(largest <= 512 * 1024, `buffer of ${largest} bytes`);
  }
});

Deno.test("a mapped-ram file is read without its pages: the reader says where to go on", async () => {
  const file = await fixture("mapped-ram-default.mig");
  const reader = new StreamReader({ devices: knownSection });
  let read = 0;
  const kinds = new Set<string>();
  for (;;) {
    const item = reader.next();
    if (item?.kind === "end") break;
    if (item !== undefined) {
      kinds.add(item.kind);
      continue;
    }
    const space = reader.space().subarray(0, 4096);
    const from = reader.wantedOffset;
    const part = file.subarray(from, from + space.length);
    space.set(part);
    read += part.length;
    if (part.length === 0) reader.end();
    else reader.filled(part.length);
  }
  assert(kinds.has("device") && kinds.has("description"));
  assert(read < file.length / 10, `${read} of ${file.length} bytes`);
});

Deno.test("QEMU's streams have all that a destination requires, and kvmclock where KVM was", async () => {
  for (const name of streamNames()) {
    const items = [...itemsOf(readerOf(await fixture(name), { offset: streamOffset(name) }))];
    const devices = items.filter((item) => item.kind === "device");
    const names = new Set(devices.map(({ section }) => section.idstr));
    for (const always of ["timer", "kvm-tpr-opt", "apic", "cpu", "fw_cfg"]) {
      assert(names.has(always), `${name}: no ${always} in ${[...names]}`);
    }
    const kvm = devices.some(({ section, state }) =>
      section.idstr === "cpu" && (state as CpuState).tscKhz !== undefined
    );
    assertEquals(names.has("kvmclock"), kvm, name);
    assert(items.some((item) => item.kind === "ram" && item.record.kind === "blocks"), name);
    const switchedOver = items.some((item) =>
      item.kind === "command" && item.command.name === "SWITCHOVER_START"
    );
    const ends = items.some((item) => item.kind === "ram ends" && item.part === "end");
    assertEquals(ends, switchedOver, name);
  }
});

Deno.test("a trace names every field of a device with its place and value", async () => {
  const bytes = await fixture("serial-fifo.mig");
  for (const item of itemsOf(readerOf(bytes, { trace: true }))) {
    if (item.kind !== "device") continue;
    let at = item.bodyOffset;
    for (const field of item.fields ?? []) {
      // What lies between fields is the heads of subsections.
      assert(field.offset >= at, field.path);
      at = field.offset + field.size;
    }
    assertEquals(at, item.bodyOffset + item.bodySize);
    if (item.section.idstr !== "serial") continue;
    const fields = new Map(item.fields?.map((field) => [field.path, field]));
    assertEquals(fields.get("state.lsr")?.value, 0x61);
    assertEquals(fields.get("state.serial/recv_fifo.recv_fifo.num")?.size, 4);
    assertEquals(fields.get("state.serial/timeout_ipending.timeout_ipending")?.type, "int32");
  }
});
