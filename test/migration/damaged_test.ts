/** Saved guests that were damaged, cut off, or meant for another machine: what is wrong is reported, and where. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Loader } from "../support/loader.ts";
import { guestImage } from "../support/programs.ts";
import { newSeed, Random } from "../support/random.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { thorough } from "../support/thorough.ts";
import { patience } from "../support/patience.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";
import { awaitMigration } from "../../src/qmp_client/mod.ts";
import { itemsOf, readerOf } from "../golden/rewrite.ts";

const FLIPS = { "stream": thorough ? 3000 : 300, "mapped-ram": thorough ? 1000 : 200 };
const CUTS = thorough ? 600 : 60;

/** A machine with so little in its memory that its state is small. */
function machine({ memory = "16M", cpus = 1, more = [] as readonly string[] } = {}): string[] {
  return [
    ...["-machine", "microvm", "-accel", "kvm", "-m", memory, "-smp", String(cpus)],
    ...["-nodefaults", "-display", "none", "-S", "-kernel", guestImage("idle.elf"), ...more],
  ];
}

type Format = "stream" | "mapped-ram";

/** Saves a machine's state. */
async function save(directory: TemporaryDirectory, format: Format): Promise<string> {
  const path = directory.file(format);
  const name = `saving-${format}`;
  await using source = await VirtualMachine.start("molt", machine(), { directory, name });
  await source.qmp.execute("migrate-set-capabilities", {
    capabilities: [{ capability: "mapped-ram", state: format === "mapped-ram" }],
  });
  await source.qmp.execute("migrate", { uri: `file:${path}` });
  const signal = patience();
  while ((await source.qmp.execute("query-migrate")).status !== "completed") {
    signal.throwIfAborted();
  }
  return path;
}

/** A reason says what could not be read, and where; nothing of how the program is made. */
function checkReason(reason: string, what: string): void {
  assertMatch(
    reason,
    /^load of migration failed: .*(offset 0x[0-9a-f]|section|block|device|'[^']+')/i,
    what,
  );
  assert(
    !/undefined|NaN|\[object|Cannot read|Cannot convert|not a function|Invalid (typed array|array|BigInt)|out of bounds|errno \d/i
      .test(reason),
    `${what}: ${reason}`,
  );
}

/** Where items of a stream begin and end, and what they are. */
function itemsIn(bytes: Uint8Array<ArrayBuffer>) {
  return [...itemsOf(readerOf(bytes))].map((item) => ({
    offset: item.offset,
    name: item.kind === "device"
      ? `${item.section.idstr}/${item.section.instanceId}`
      : item.kind === "ram"
      ? "ram/0"
      : undefined,
  }));
}

for (const format of ["stream", "mapped-ram"] as const) {
  Deno.test(`${format}: bits flipped in a saved guest`, async () => {
    using directory = new TemporaryDirectory();
    const path = await save(directory, format);
    const bytes = await Deno.readFile(path);
    const seed = newSeed();
    const random = new Random(seed);
    const capabilities = format === "mapped-ram" ? [format] as const : [];
    await using loader = new Loader(machine(), ...capabilities);
    assertEquals(await loader.load(path), undefined, "the file as it was saved");
    // Devices come last, the description of what was sent behind them.
    const devices = itemsIn(bytes).findLast(({ name }) => name !== undefined)?.offset ?? 0;
    using file = await Deno.open(path, { write: true });
    const put = async (offset: number, byte: number) => {
      await file.seek(offset, Deno.SeekMode.Start);
      await file.write(Uint8Array.of(byte));
    };
    let refused = 0;
    for (let flip = 0; flip < FLIPS[format]; flip++) {
      const offset = random.pick([
        random.below(4096),
        devices - random.below(Math.min(4096, devices)),
        random.below(bytes.length),
      ]);
      const bit = random.below(8);
      const byte = bytes[offset] ?? 0;
      await put(offset, byte ^ (1 << bit));
      const what = `MOLT_SEED=${seed}, bit ${bit} of byte 0x${offset.toString(16)}`;
      const reason = await loader.load(path).catch((cause) => {
        throw new Error(what, { cause });
      });
      if (reason !== undefined) {
        checkReason(reason, what);
        refused++;
      }
      await put(offset, byte);
    }
    // What changes a page, or a register to another value, is not noticed.
    assert(refused > 0, `${refused} were refused`);
    assertEquals(await loader.load(path), undefined, "the file as it was again");
  });
}

Deno.test("a saved guest cut off at each boundary and anywhere between", async () => {
  using directory = new TemporaryDirectory();
  const bytes = await Deno.readFile(await save(directory, "stream"));
  const items = itemsIn(bytes);
  const end = items.findLast(({ name }) => name !== undefined)?.offset ?? 0;
  const seed = newSeed();
  const random = new Random(seed);
  const devices = items.filter(({ name }) => name !== undefined && name !== "ram/0");
  assert(devices.length > 10);
  const cuts = [
    ...devices.flatMap(({ offset }) => [offset - 1, offset, offset + 1]),
    ...Array.from({ length: CUTS }, () => random.below(end)),
    0,
  ];
  const path = directory.file("cut");
  await using loader = new Loader(machine());
  for (const length of cuts) {
    await Deno.writeFile(path, bytes.subarray(0, length));
    const what = `MOLT_SEED=${seed}, the first ${length} bytes`;
    const reason = await loader.load(path) ?? "";
    checkReason(reason, what);
    assertMatch(reason, /at offset 0x[0-9a-f]+: .*\(data ends \d+ bytes? too early\)/, what);
  }
});

/** The sections of a stream: of each its name and the places of its parts. */
function sectionsIn(bytes: Uint8Array<ArrayBuffer>): Map<string, [from: number, to: number][]> {
  const items = [...itemsOf(readerOf(bytes))];
  const sections = new Map<string, [number, number][]>();
  let begin = 0;
  for (const [index, item] of items.entries()) {
    if (item.kind === "ram begins") begin = item.offset;
    if (item.kind !== "device" && item.kind !== "ram ends") continue;
    const { idstr, instanceId } = item.section;
    const name = `'${idstr}' ${instanceId}`;
    const place: [number, number] = [
      item.kind === "device" ? item.offset : begin,
      items[index + 1]?.offset ?? bytes.length,
    ];
    sections.set(name, [...sections.get(name) ?? [], place]);
  }
  return sections;
}

function without(
  bytes: Uint8Array<ArrayBuffer>,
  places: readonly [from: number, to: number][],
): Uint8Array<ArrayBuffer> {
  const kept = bytes.slice();
  let length = 0;
  let at = 0;
  for (const [from, to] of [...places, [bytes.length, bytes.length] as const]) {
    kept.set(bytes.subarray(at, from), length);
    length += from - at;
    at = to;
  }
  return kept.subarray(0, length);
}

Deno.test("a saved guest without one of its sections is refused by the section's name", async () => {
  using directory = new TemporaryDirectory();
  const bytes = await Deno.readFile(await save(directory, "stream"));
  const path = directory.file("less");
  await using loader = new Loader(machine());
  const sections = sectionsIn(bytes);
  const names = [...sections.keys()];
  for (const name of ["'ram' 0", "'timer' 0", "'kvmclock' 0", "'kvm-tpr-opt' 0", "'cpu' 0"]) {
    assert(names.includes(name), `${name} is in ${names}`);
  }
  for (const [name, places] of sections) {
    await Deno.writeFile(path, without(bytes, places));
    const reason = await loader.load(path);
    // Whether the guest ran may be left out: then it did.
    if (name === "'globalstate' 0") assertEquals(reason, undefined);
    else assert(reason?.includes(`the stream has no section ${name}`), `${name}: ${reason}`);
  }
  const parts = sections.get("'ram' 0") ?? [];
  assert(parts.length > 1);
  await Deno.writeFile(path, without(bytes, parts.slice(-1)));
  assertMatch(await loader.load(path) ?? "", /the stream has no end of the section 'ram' 0/);
});

Deno.test("a saved guest without one of the machine's RAM blocks is refused by the block's name", async () => {
  using directory = new TemporaryDirectory();
  const bytes = await Deno.readFile(await save(directory, "stream"));
  const items = [...itemsOf(readerOf(bytes))];
  const begin = items.find(({ kind }) => kind === "ram begins")?.offset ?? 0;
  // A section's header: its kind, number, name and the name's length, instance, version.
  const start = begin + 1 + 4 + 1 + "ram".length + 4 + 4;
  const [blocks = []] = items.flatMap((item) =>
    item.kind === "ram" && item.record.kind === "blocks" ? [item.record.blocks] : []
  );
  const last = blocks.at(-1)!;
  // The list: total length in bytes and a flag (8 bytes), then blocks: name's length, name, length.
  const size = blocks.reduce((sum, { name }) => sum + 1 + name.length + 8, 8);
  const end = start + size;
  const less = without(bytes, [[end - 1 - last.name.length - 8, end]]);
  const view = new DataView(less.buffer);
  const total = view.getBigUint64(start);
  view.setBigUint64(start, total - BigInt(last.length));
  const path = directory.file("less");
  await Deno.writeFile(path, less);
  await using loader = new Loader(machine());
  const reason = await loader.load(path) ?? "";
  assert(reason.includes(`the list of RAM blocks lacks '${last.name}'`), reason);
});

Deno.test("a saved guest is refused by machines that are not like its own", async () => {
  using directory = new TemporaryDirectory();
  const path = await save(directory, "stream");
  const other: readonly (readonly [string[], RegExp])[] = [
    [machine({ memory: "32M" }), /block|length|size/i],
    [machine({ memory: "8M" }), /block|length|size/i],
    [machine({ cpus: 2 }), /'(cpu|apic|cpu_common)' 1|section/],
    [machine({ more: ["-machine", "pit=off"] }), /i8254|pit/],
  ];
  for (const [options, text] of other) {
    await using loader = new Loader(options);
    const reason = await loader.load(path) ?? "";
    checkReason(reason, options.join(" "));
    assertMatch(reason, text);
  }
});

for (const format of ["stream", "mapped-ram"] as const) {
  Deno.test(`${format}: a guest whose memory stayed in a file is refused if that file is missing`, async () => {
    using directory = new TemporaryDirectory();
    const memory = directory.file("memory");
    const options = machine({
      more: [
        ...["-object", `memory-backend-file,id=ram0,size=16M,share=on,mem-path=${memory}`],
        ...["-machine", "memory-backend=ram0"],
      ],
    });
    const capabilities = [
      "x-ignore-shared" as const,
      ...(format === "mapped-ram" ? [format] as const : []),
    ];
    const path = directory.file("state");
    {
      await using source = await VirtualMachine.start("molt", options, { directory });
      await source.qmp.execute("migrate-set-capabilities", {
        capabilities: capabilities.map((capability) => ({ capability, state: true })),
      });
      await source.qmp.execute("migrate", { uri: `file:${path}` });
      await awaitMigration(source.qmp, { signal: patience() });
    }
    await Deno.rename(memory, `${memory}.kept`);
    {
      await using loader = new Loader(options, ...capabilities);
      const reason = await loader.load(path) ?? "";
      assertMatch(
        reason,
        /no pages of the RAM block 'ram0' \(x-ignore-shared\): .*'.*memory' was new/,
      );
      checkReason(reason, "a missing file");
    }
    await Deno.rename(`${memory}.kept`, memory);
    await using loader = new Loader(options, ...capabilities);
    assertEquals(await loader.load(path), undefined, "the file is where it was");
  });
}
