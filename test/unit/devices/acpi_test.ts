import { assert, assertEquals } from "@std/assert";
import { linkAcpiFiles } from "../../../src/devices/acpi/system_table.ts";
import { type AcpiConfiguration, buildAcpiFiles } from "../../../src/devices/acpi/tables.ts";
import { fixture } from "../../golden/fixtures.ts";
import { reference, secondIoapic, serial, virtioMmio } from "./reference.ts";

const plain: AcpiConfiguration = {
  cpus: 1,
  maximumCpus: 1,
  serial,
  rtc: false,
  secondIoapic,
  virtioMmio: [],
};

const configurations: Record<string, AcpiConfiguration> = {
  "rtc": { ...plain, rtc: true },
  "smp8": { ...plain, cpus: 3, maximumCpus: 8 },
  "virtio24": {
    ...plain,
    cpus: 2,
    maximumCpus: 2,
    rtc: true,
    virtioMmio: virtioMmio(Array.from({ length: 24 }, (_, index) => index), 24),
  },
  "noserial": { ...plain, serial: undefined },
  "noioapic2": { ...plain, secondIoapic: undefined, virtioMmio: virtioMmio([6, 7], 16) },
};

for (const [name, configuration] of Object.entries(configurations)) {
  Deno.test(`ACPI tables are QEMU's, byte for byte: ${name}`, async () => {
    assertEquals(buildAcpiFiles(configuration).tables, await reference(`${name}.tables`));
  });
}

Deno.test("table loader and RSDP are QEMU's, byte for byte", async () => {
  const files = buildAcpiFiles(configurations.virtio24 ?? plain);
  assertEquals(files.loader, await reference("virtio24.loader"));
  assertEquals(files.rsdp, await reference("virtio24.rsdp"));
});

Deno.test("the default configuration's blobs are those in QEMU's RAM blocks", async () => {
  const files = buildAcpiFiles(plain);
  const blocks = { tables: "tables", loader: "table_loader", rsdp: "rsdp" } as const;
  for (const [file, block] of Object.entries(blocks)) {
    const prefix = file === "loader" ? "rom_etc_" : "rom_etc_acpi_";
    const ram = await fixture(`cpr-transfer.memfd.${prefix}${block}`);
    const bytes = files[file as keyof typeof blocks];
    assertEquals(ram.slice(0, bytes.length), bytes, file);
    assert(ram.subarray(bytes.length).every((byte) => byte === 0));
  }
});

Deno.test("linked tables point at each other and their checksums hold", () => {
  const files = buildAcpiFiles({ ...plain, virtioMmio: virtioMmio([23], 24) });
  const address = 0x7ff0000;
  const linked = linkAcpiFiles(files, { tables: address, rsdp: 0xe0000 });
  const tables = new DataView(linked.tables.buffer);
  const rsdp = new DataView(linked.rsdp.buffer);

  assertEquals(sum(linked.rsdp.subarray(0, 20)), 0);
  assertEquals(sum(linked.rsdp), 0);
  const tableAt = (guestAddress: number | bigint) => {
    const offset = Number(guestAddress) - address;
    const length = tables.getUint32(offset + 4, true);
    const bytes = linked.tables.subarray(offset, offset + length);
    assertEquals(sum(bytes), 0);
    return { offset, signature: new TextDecoder().decode(bytes.subarray(0, 4)) };
  };
  const xsdt = tableAt(rsdp.getBigUint64(24, true));
  assertEquals(xsdt.signature, "XSDT");
  const fadt = tableAt(tables.getBigUint64(xsdt.offset + 36, true));
  assertEquals(fadt.signature, "FACP");
  assertEquals(tableAt(tables.getBigUint64(xsdt.offset + 44, true)).signature, "APIC");
  assertEquals(tableAt(tables.getUint32(fadt.offset + 40, true)).signature, "DSDT");
  assertEquals(tableAt(tables.getBigUint64(fadt.offset + 140, true)).signature, "DSDT");

  // The files that firmware gets stay as they were.
  assertEquals(files, buildAcpiFiles({ ...plain, virtioMmio: virtioMmio([23], 24) }));
});

function sum(bytes: Uint8Array): number {
  return bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
}
