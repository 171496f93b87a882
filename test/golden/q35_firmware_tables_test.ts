import { assertEquals, assertThrows } from "@std/assert";
import { buildPcAcpiFiles, type PcAcpiBoard } from "../../src/devices/acpi/pc_tables.ts";
import { encodeE820, HYPERTRANSPORT, KVM_PAGES, pcE820 } from "../../src/devices/e820.ts";
import { buildSmbiosFiles, linkSmbiosAnchor, type SmbiosMachine } from "../../src/devices/smbios.ts";
import { q35RamLayout } from "../../src/machine/boards/q35_ram.ts";
import { reference } from "../unit/devices/reference.ts";
import { q35Fixture } from "./fixtures.ts";

const MEBIBYTE = 1 << 20;
/** Of `etc/acpi/tables`. */
const TABLES_SIZE = 0x20000;
const ECAM = { address: 0xb0000000, buses: 256 };
/** CPUID leaf 1 of QEMU's `qemu64`, with and without siblings. */
const ALONE = { eax: 0x00060fb1, edx: 0x078bfbfd };
const WITH_SIBLINGS = { ...ALONE, edx: 0x178bfbfd };

interface Recording {
  name: string;
  mebibytes: number;
  board: Partial<PcAcpiBoard>;
  machine: Partial<SmbiosMachine>;
}

const recordings: Recording[] = [
  { name: "bare", mebibytes: 64, board: {}, machine: {} },
  {
    name: "bare-unprogrammed",
    mebibytes: 64,
    board: { powerManagementBase: 0, ecam: undefined },
    machine: {},
  },
  { name: "6g", mebibytes: 6144, board: {}, machine: {} },
  { name: "smm-on-tcg", mebibytes: 64, board: { smm: true }, machine: {} },
  { name: "rp2-native", mebibytes: 64, board: {}, machine: {} },
  {
    name: "rp2-smp",
    mebibytes: 64,
    board: {
      processors: [0, 1, 2, 3].map((apicId) => ({ apicId, present: apicId < 3 })),
    },
    machine: { cores: 4, threads: 4, signature: WITH_SIBLINGS },
  },
];

function pcBoard(changes: Partial<PcAcpiBoard>): PcAcpiBoard {
  return {
    processors: [{ apicId: 0, present: true }],
    powerManagementBase: 0x600,
    ecam: ECAM,
    smm: false,
    i8042: true,
    hpet: true,
    ...changes,
  };
}

function smbiosMachine(mebibytes: number, changes: Partial<SmbiosMachine>): SmbiosMachine {
  return {
    version: "pc-q35-11.1",
    product: "Standard PC (Q35 + ICH9, 2009)",
    sockets: 1,
    cores: 1,
    threads: 1,
    signature: ALONE,
    ram: q35RamLayout(mebibytes * MEBIBYTE),
    ...changes,
  };
}

/** The definition block of the recorded DSDT, which follows the FACS. */
function recordedDsdt(tables: Uint8Array<ArrayBuffer>): number[] {
  const length = new DataView(tables.buffer).getUint32(64 + 4, true);
  return [...tables.subarray(64 + 36, 64 + length)];
}

/** `bytes` with zeros up to `length`, as they are in the fw_cfg file. */
function padded(bytes: Uint8Array, length: number): Uint8Array {
  const file = new Uint8Array(length);
  file.set(bytes);
  return file;
}

for (const { name, mebibytes, board, machine } of recordings) {
  Deno.test(`q35's ACPI tables around the DSDT are QEMU's: ${name}`, async () => {
    const tables = await q35Fixture(`acpi-${name}.tables.bin`);
    const loader = await q35Fixture(`acpi-${name}.table-loader.bin`);
    const files = buildPcAcpiFiles(pcBoard(board), recordedDsdt(tables));
    // Zeros at the recordings' end were cut, the last table's own too.
    assertEquals(padded(files.tables, TABLES_SIZE), padded(tables, TABLES_SIZE));
    assertEquals(files.rsdp, await q35Fixture(`acpi-${name}.rsdp.bin`));
    assertEquals(padded(files.loader, loader.length), loader);
  });

  Deno.test(`q35's SMBIOS structures are QEMU's: ${name}`, async () => {
    const files = buildSmbiosFiles(smbiosMachine(mebibytes, machine));
    assertEquals(files.tables, await q35Fixture(`acpi-${name}.smbios-tables.bin`));
    assertEquals(files.anchor, await q35Fixture(`acpi-${name}.smbios-anchor.bin`));
  });

  Deno.test(`q35's memory map for firmware is QEMU's: ${name}`, async () => {
    // Of KVM's processor there the vendor is not AMD; TCG's is, and TCG keeps no pages for itself.
    const reserved = name.endsWith("-tcg") ? HYPERTRANSPORT : KVM_PAGES;
    const entries = pcE820([reserved], q35RamLayout(mebibytes * MEBIBYTE));
    assertEquals(encodeE820(entries), await q35Fixture(`acpi-${name}.e820.bin`));
  });
}

Deno.test("two sockets, processors that may be added and 40 GiB are described as QEMU does", async () => {
  const apicIds = [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13];
  const processors = apicIds.map((apicId, index) => ({ apicId, present: index < 6 }));
  const tables = await reference("q35-2sockets.tables");
  assertEquals(buildPcAcpiFiles(pcBoard({ processors }), recordedDsdt(tables)).tables, tables);
  const machine = smbiosMachine(40960, {
    uuid: "00112233-4455-6677-8899-aabbccddeeff",
    sockets: 2,
    cores: 3,
    threads: 6,
    signature: WITH_SIBLINGS,
  });
  assertEquals(buildSmbiosFiles(machine).tables, await reference("q35-2sockets.smbios"));
});

Deno.test("a processor whose APIC id needs an x2APIC is refused", () => {
  const processors = [{ apicId: 255, present: true }];
  assertThrows(() => buildPcAcpiFiles(pcBoard({ processors }), []), RangeError, "APIC id 255");
});

Deno.test("the SMBIOS entry point that is placed without firmware has its checksums", () => {
  const files = buildSmbiosFiles(smbiosMachine(64, {}));
  const anchor = linkSmbiosAnchor(files, 0xf1000);
  const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => total + byte, 0) & 0xff;
  assertEquals([sum(anchor), sum(anchor.subarray(0x10))], [0, 0]);
  assertEquals(new DataView(anchor.buffer).getUint32(0x18, true), 0xf1000);
});
