import { assertEquals, assertThrows } from "@std/assert";
import { StreamErrno, StreamError } from "../../../../src/migration/stream/errors.ts";
import { type StreamItem, StreamReader } from "../../../../src/migration/stream/stream_reader.ts";
import { StreamWriter } from "../../../../src/migration/stream/stream_writer.ts";
import { struct, u16, u8, VmStateError } from "../../../../src/vmstate/vmstate.ts";

const timer = struct({
  name: "timer",
  version: 2,
  minimumVersion: 1,
  fields: { low: u8(), high: u8({ since: 2 }) },
});

const microvm = { machineType: "microvm", capabilities: [] };

/** A stream with a block list, two pages and one device. */
function stream(): Uint8Array<ArrayBuffer> {
  const writer = new StreamWriter();
  writer.begin(microvm);
  writer.beginRam("start", 1);
  writer.ram.blocks([{ name: "ram0", length: 8192 }]);
  writer.endRam(1);
  writer.command({ name: "SWITCHOVER_START" });
  writer.beginRam("end", 1);
  writer.ram.zeroPage("ram0", 0);
  writer.ram.page("ram0", 4096, new Uint8Array(4096).fill(7));
  writer.endRam(1);
  writer.device({
    sectionId: 4,
    idstr: "timer",
    instanceId: 0,
    description: timer,
    state: { low: 1, high: 2 },
  });
  writer.finish();
  return writer.take().slice();
}

function readerOf(bytes: Uint8Array<ArrayBuffer>): StreamReader {
  return new StreamReader({
    devices: (idstr) => idstr === "timer" ? [timer] : undefined,
    bytes,
  });
}

function read(bytes: Uint8Array<ArrayBuffer>): StreamItem[] {
  const reader = readerOf(bytes);
  const items: StreamItem[] = [];
  for (;;) {
    const item = reader.next();
    if (item === undefined) throw new Error("a complete stream wants more bytes");
    items.push(item);
    if (item.kind === "end") return items;
  }
}

/** The stream with bytes replaced at an offset. */
function altered(offset: number, ...values: number[]): Uint8Array<ArrayBuffer> {
  const bytes = stream();
  bytes.set(values, offset);
  return bytes;
}

/** Where in the stream something begins. */
function find(kind: StreamItem["kind"], nth = 0): number {
  return read(stream()).filter((item) => item.kind === kind)[nth]?.offset ?? -1;
}

Deno.test("a stream is read as the items it was written as", () => {
  assertEquals(read(stream()).map((item) => item.kind), [
    "configuration",
    "ram begins",
    "ram",
    "ram",
    "ram ends",
    "command",
    "ram begins",
    "ram",
    "ram",
    "ram",
    "ram ends",
    "device",
    "end of stream",
    "description",
    "end",
  ]);
});

Deno.test("a page's content is left in the reader's buffer", () => {
  const reader = readerOf(stream());
  for (let item = reader.next(); item?.kind !== "end"; item = reader.next()) {
    if (item?.kind !== "ram" || item.record.kind !== "page") continue;
    const { data, block, offset } = item.record;
    assertEquals([block.name, offset], ["ram0", 4096]);
    assertEquals(reader.bytes.subarray(data, data + 4096), new Uint8Array(4096).fill(7));
  }
});

Deno.test("the description follows the end of the stream, and what follows it is not read", () => {
  const bytes = stream();
  const longer = new Uint8Array(bytes.length + 9);
  longer.set(bytes);
  const items = read(longer);
  const description = items.find((item) => item.kind === "description");
  assertEquals(JSON.parse(description?.text ?? "").devices[0], {
    name: "timer",
    instance_id: 0,
    vmsd_name: "timer",
    version: 2,
    fields: [{ name: "low", type: "uint8", size: 1 }, { name: "high", type: "uint8", size: 1 }],
  });
  assertEquals(items.at(-1), { kind: "end", offset: bytes.length });
  const without = bytes.slice(0, find("description"));
  assertEquals(read(without).at(-1), { kind: "end", offset: without.length });
});

Deno.test("an older version of a section is read", () => {
  const older = struct({ name: "timer", version: 1, fields: { low: u8() } });
  const writer = new StreamWriter();
  writer.begin(microvm);
  writer.device({
    sectionId: 4,
    idstr: "timer",
    instanceId: 0,
    description: older,
    state: { low: 1 },
  });
  writer.finish();
  const item = read(writer.take()).find((item) => item.kind === "device");
  assertEquals(item?.state, { low: 1, high: 0 });
});

const device = find("device");
// deno-fmt-ignore
const refusals: [what: string, bytes: Uint8Array<ArrayBuffer>, errno: number, reason: string][] = [
  ["another magic", altered(0, 0x58, 0x45), StreamErrno.EINVAL, "Not a migration stream, magic: 5845564d != 5145564d"],
  ["version 2", altered(7, 2), StreamErrno.ENOTSUP, "SaveVM v2 format is obsolete and no longer supported"],
  ["version 4", altered(7, 4), StreamErrno.ENOTSUP, "Unsupported migration stream version, file version 4 != 3"],
  ["no configuration", altered(8, 1), StreamErrno.EINVAL, "Configuration section missing, 1 != 7"],
  ["an unknown section", altered(device + 8, 0x78), StreamErrno.EINVAL, "Unknown section or instance 'tixer' 0. Make sure that your current VM setup matches your saved VM setup, including any hotplugged devices"],
  ["a section too new", altered(device + 18, 3), StreamErrno.EINVAL, "unsupported version 3 for 'timer' v2"],
  ["a section too old", altered(device + 18, 0), StreamErrno.EINVAL, "timer: incoming version_id 0 is too old for local minimum version_id 1"],
  ["RAM too new", altered(find("ram begins") + 16, 5), StreamErrno.EINVAL, "unsupported version 5 for 'ram' v4"],
  ["no footer", altered(device + 21, 0), StreamErrno.EINVAL, "Section footer error, section_id: 4"],
  ["another footer", altered(device + 25, 0x63), StreamErrno.EINVAL, "Section footer error, section_id: 4"],
  ["no footer of RAM", altered(find("ram ends"), 0), StreamErrno.EINVAL, "Section footer error, section_id: 1"],
  ["an unknown type", altered(device, 9), StreamErrno.EINVAL, "Unknown section type 9"],
  ["a part of nothing", altered(find("ram begins", 1) + 4, 9), StreamErrno.EINVAL, "Unknown section 9"],
  ["an unknown command", altered(find("command") + 2, 0x63), StreamErrno.EINVAL, "MIG_CMD 0x63 unknown (len 0x0)"],
  ["a command of a wrong length", altered(find("command") + 4, 3), StreamErrno.ERANGE, "SWITCHOVER_START received with bad length - expecting 0, got 3"],
  ["an end before the end", altered(device, 0), StreamErrno.EINVAL, "Expected vmdescription section, but got 0"],
  ["a device in parts", altered(device, 1), StreamErrno.EINVAL, "Section 'timer' 0 cannot come in parts"],
];

for (const [what, bytes, errno, reason] of refusals) {
  Deno.test(`refused in QEMU's words: ${what}`, () => {
    const error = assertThrows(() => read(bytes), VmStateError);
    assertEquals(error.reason, reason);
    assertEquals(error instanceof StreamError ? error.errno : StreamErrno.EINVAL, errno);
  });
}

Deno.test("a source with a user network is refused with what to do about it", () => {
  const slirp = new TextEncoder().encode("slirp");
  const { reason } = assertThrows(() => read(altered(device + 6, ...slirp)), StreamError);
  assertEquals(reason.startsWith("Unknown section or instance 'slirp' 0. "), true, reason);
  for (const advice of ["-netdev user", "-nodefaults", "-nic none", "-netdev tap"]) {
    assertEquals(reason.includes(advice), true, reason);
  }
});

Deno.test("a footer's error says what was wrong with it, and whose it is", () => {
  const missing = assertThrows(() => read(altered(device + 21, 0)), StreamError);
  assertEquals(
    missing.message,
    `section 'timer/0': at offset 0x${(device + 21).toString(16)}: ` +
      "Section footer error, section_id: 4 (Missing section footer for timer)",
  );
  const other = assertThrows(() => read(altered(device + 25, 0x63)), StreamError);
  assertEquals(
    other.cause instanceof Error ? other.cause.message : "",
    "Mismatched section id in footer for timer - read 0x63 expected 0x4",
  );
});

Deno.test("a short file: the section, the field and the offset at which the bytes end", () => {
  const inDevice = assertThrows(() => read(stream().slice(0, device + 20)), StreamError);
  assertEquals(inDevice.errno, StreamErrno.EIO);
  assertEquals(
    inDevice.message,
    `section 'timer/0': field 'high' at offset 0x${(device + 20).toString(16)}: ` +
      "Failed to load vmstate version_id: 2, ret: -5 (data ends 1 byte too early)",
  );
  const inRam = assertThrows(
    () => read(stream().slice(0, find("ram begins", 1) + 60)),
    StreamError,
  );
  assertEquals(inRam.reason, "Failed to load vmstate version_id: 4, ret: -5");
  assertEquals(inRam.section, "ram/0");
});

Deno.test("of several descriptions the first that fits is taken", () => {
  const short = struct({ name: "timer", version: 2, fields: { low: u8() } });
  const wide = struct({ name: "timer", version: 2, fields: { both: u16() } });
  const reader = new StreamReader({ devices: () => [short, wide, timer], bytes: stream() });
  for (let item = reader.next(); item?.kind !== "end"; item = reader.next()) {
    if (item?.kind === "device") assertEquals(item.state, { both: 0x102 });
  }
});

Deno.test("a package of postcopy ends where one of its items does", () => {
  const packaged = (length: number) => {
    const writer = new StreamWriter();
    writer.begin(microvm);
    writer.command({ name: "PACKAGED", length });
    writer.command({ name: "POSTCOPY_LISTEN" });
    writer.command({ name: "POSTCOPY_RUN" });
    writer.finish(false);
    return writer.take();
  };
  assertEquals(read(packaged(10)).filter((item) => item.kind === "command").length, 3);
  assertThrows(() => read(packaged(7)), StreamError, "inside an item");
});

Deno.test("an item without end is not buffered without end", () => {
  const reader = new StreamReader({ devices: () => undefined });
  reader.push(stream().subarray(0, find("end of stream") + 1));
  // A description of 4 GiB.
  assertThrows(
    () => {
      reader.push(Uint8Array.of(6, 255, 255, 255, 255));
      for (let item = reader.next(); item !== undefined; item = reader.next());
    },
    VmStateError,
  );
});
