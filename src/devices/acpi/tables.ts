/**
 * The ACPI tables of the microvm board, byte for byte as QEMU 11.1 makes them: DSDT, FADT (hardware
 * reduced), MADT and XSDT one after another in one file, the RSDP in another, and the commands that
 * link them. Layouts: ACPI specification 6.5, chapter 5.2.
 */
import {
  ALL_PROCESSORS,
  IOAPIC_ADDRESS,
  LOCAL_APIC_ADDRESS,
  MADT_PC_AT,
  MADT_REVISION,
  NMI_LINT,
} from "./madt.ts";
import {
  GED_EVENT_ADDRESS,
  GED_EVENT_LENGTH,
  GED_IRQ,
  GED_REGISTERS_ADDRESS,
  GED_RESET_VALUE,
  GED_SLEEP_TYPE_S5,
  GedEvent,
  GedRegister,
} from "../ged.ts";
import { ACPI_RSDP_FILE, ACPI_TABLES_FILE, FW_CFG_PORT } from "../fw_cfg.ts";
import { RTC_IRQ, RTC_PORT } from "../rtc_registers.ts";
import {
  type Aml,
  and,
  device,
  dwordField,
  eisaId,
  equal,
  ifThen,
  integer,
  interruptEdge,
  interruptLevel,
  ioPorts,
  irqLevelShared,
  irqNoFlags,
  local0,
  memory32Fixed,
  memoryRegion,
  name,
  nameString,
  notify,
  packageOf,
  resourceTemplate,
  scope,
  serializedMethod,
  store,
  string,
} from "./aml.ts";
import {
  type AcpiFiles,
  ascii,
  HEADER_SIZE,
  OEM_ID,
  table,
  TableFile,
  u32,
  u64,
} from "./system_table.ts";
import { encodeLoader } from "./table_loader.ts";

/** What the tables say of the machine. */
export interface AcpiConfiguration {
  /** vCPUs at start. Their APIC ids are 0, 1, ... */
  cpus: number;
  /** vCPUs that there may be, at least `cpus`. */
  maximumCpus: number;
  /** Port and interrupt of COM1, if there is one. */
  serial?: { port: number; irq: number } | undefined;
  rtc: boolean;
  /** The second I/O APIC, if there is one. */
  secondIoapic?: { address: number; firstGsi: number } | undefined;
  /** The virtio-mmio transports that have a device. `index` counts from the lowest address. */
  virtioMmio: readonly { index: number; address: number; length: number; gsi: number }[];
}

const DSDT_REVISION = 2;
const FADT_REVISION = 5;
const FADT_LENGTH = 268;
const FADT_DSDT = 40;
const FADT_FLAGS = 112;
const FADT_RESET_REGISTER = 116;
const FADT_RESET_VALUE = 128;
const FADT_X_DSDT = 140;
const FADT_SLEEP_CONTROL = 244;
const FADT_SLEEP_STATUS = 256;
const FADT_FLAG_RESET_REGISTER = 1 << 10;
const FADT_FLAG_HARDWARE_REDUCED = 1 << 20;

const XSDT_REVISION = 1;
const RSDP_LENGTH = 36;
const RSDP_V1_LENGTH = 20;
const RSDP_CHECKSUM = 8;
const RSDP_XSDT = 24;
const RSDP_EXTENDED_CHECKSUM = 32;

/** Bytes that answer FW_CFG at its ports, DMA included. */
const FW_CFG_PORTS = 12;

/** Builds the tables, unlinked. */
export function buildAcpiFiles(configuration: AcpiConfiguration): AcpiFiles {
  const file = new TableFile();
  const { commands } = file;
  const dsdt = file.append(table("DSDT", DSDT_REVISION, dsdtBody(configuration)));
  const fadt = file.append(fadtTable(dsdt), [[FADT_DSDT, 4], [FADT_X_DSDT, 8]]);
  const madt = file.append(table("APIC", MADT_REVISION, madtBody(configuration)));
  const xsdt = file.append(
    table("XSDT", XSDT_REVISION, [...u64(fadt), ...u64(madt)]),
    [[HEADER_SIZE, 8], [HEADER_SIZE + 8, 8]],
  );

  const rsdpChecksum = (offset: number, length: number) => {
    commands.push({ kind: "add checksum", file: ACPI_RSDP_FILE, offset, start: 0, length });
  };
  rsdpChecksum(RSDP_CHECKSUM, RSDP_V1_LENGTH);
  commands.push({
    kind: "add pointer",
    file: ACPI_RSDP_FILE,
    source: ACPI_TABLES_FILE,
    offset: RSDP_XSDT,
    size: 8,
  });
  rsdpChecksum(RSDP_EXTENDED_CHECKSUM, RSDP_LENGTH);

  return {
    tables: file.bytes(),
    loader: encodeLoader(commands),
    rsdp: rsdpTable(xsdt),
    commands,
  };
}

function dsdtBody(configuration: AcpiConfiguration): Aml {
  const devices: Aml[] = [fwCfgDevice()];
  if (configuration.serial !== undefined) devices.push(serialDevice(configuration.serial));
  if (configuration.rtc) devices.push(rtcDevice());
  devices.push(genericEventDevice(), powerButton());
  const transports = [...configuration.virtioMmio].sort((a, b) => b.index - a.index);
  devices.push(...transports.map(virtioMmioDevice));
  return [
    ...scope("_SB", ...devices),
    ...scope("\\", name("_S5", sleepState(GED_SLEEP_TYPE_S5))),
  ];
}

function fwCfgDevice(): Aml {
  return device(
    "FWCF",
    name("_HID", string("QEMU0002")),
    // Present and working, but not shown to the user.
    name("_STA", integer(0x0b)),
    name("_CRS", resourceTemplate(ioPorts(FW_CFG_PORT, 1, FW_CFG_PORTS))),
  );
}

function serialDevice({ port, irq }: { port: number; irq: number }): Aml {
  return device(
    "COM1",
    name("_HID", eisaId("PNP0501")),
    name("_UID", integer(1)),
    name("_STA", integer(0x0f)),
    name("_CRS", resourceTemplate(ioPorts(port, 0, 8), irqLevelShared(irq))),
  );
}

function rtcDevice(): Aml {
  return device(
    "RTC",
    name("_HID", eisaId("PNP0B00")),
    name("_CRS", resourceTemplate(ioPorts(RTC_PORT, 1, 8), irqNoFlags(RTC_IRQ))),
  );
}

function genericEventDevice(): Aml {
  const powerButtonEvent = integer(GedEvent.powerButton);
  return device(
    "GED",
    name("_HID", string("ACPI0013")),
    name("_UID", string("GED")),
    name("_CRS", resourceTemplate(interruptEdge(GED_IRQ))),
    memoryRegion("EREG", GED_EVENT_ADDRESS, GED_EVENT_LENGTH),
    dwordField("EREG", "ESEL", 8 * GED_EVENT_LENGTH),
    serializedMethod(
      "_EVT",
      1,
      store(nameString("ESEL"), local0),
      ifThen(
        equal(and(local0, powerButtonEvent), powerButtonEvent),
        notify("PWRB", integer(0x80)),
      ),
    ),
  );
}

function powerButton(): Aml {
  return device("PWRB", name("_HID", string("PNP0C0C")), name("_UID", integer(0)));
}

function virtioMmioDevice(
  transport: { index: number; address: number; length: number; gsi: number },
): Aml {
  return device(
    `VR${String(transport.index).padStart(2, "0")}`,
    name("_HID", string("LNRO0005")),
    name("_UID", integer(transport.index)),
    // The device's DMA is coherent.
    name("_CCA", integer(1)),
    name(
      "_CRS",
      resourceTemplate(
        memory32Fixed(transport.address, transport.length),
        interruptLevel(transport.gsi),
      ),
    ),
  );
}

function sleepState(type: number): Aml {
  return packageOf(integer(type), integer(0), integer(0), integer(0));
}

function fadtTable(dsdt: number): Uint8Array {
  const bytes = Uint8Array.from(
    table("FACP", FADT_REVISION, new Array<number>(FADT_LENGTH - HEADER_SIZE).fill(0)),
  );
  const view = new DataView(bytes.buffer);
  view.setUint32(FADT_DSDT, dsdt, true);
  view.setBigUint64(FADT_X_DSDT, BigInt(dsdt), true);
  view.setUint32(FADT_FLAGS, FADT_FLAG_RESET_REGISTER | FADT_FLAG_HARDWARE_REDUCED, true);
  view.setUint8(FADT_RESET_VALUE, GED_RESET_VALUE);
  bytes.set(genericAddress(GED_REGISTERS_ADDRESS + GedRegister.reset), FADT_RESET_REGISTER);
  bytes.set(genericAddress(GED_REGISTERS_ADDRESS + GedRegister.sleepControl), FADT_SLEEP_CONTROL);
  bytes.set(genericAddress(GED_REGISTERS_ADDRESS + GedRegister.sleepStatus), FADT_SLEEP_STATUS);
  return bytes;
}

/** A register of 8 bits in memory as a Generic Address Structure. */
function genericAddress(address: number): number[] {
  return [0, 8, 0, 0, ...u64(address)];
}

function madtBody(configuration: AcpiConfiguration): number[] {
  const bytes = [...u32(LOCAL_APIC_ADDRESS), ...u32(MADT_PC_AT)];
  for (let cpu = 0; cpu < configuration.maximumCpus; cpu++) {
    const enabled = cpu < configuration.cpus ? 1 : 0;
    bytes.push(0, 8, cpu, cpu, ...u32(enabled));
  }
  const ioapic = (id: number, address: number, firstGsi: number) => {
    bytes.push(1, 12, id, 0, ...u32(address), ...u32(firstGsi));
  };
  ioapic(0, IOAPIC_ADDRESS, 0);
  const second = configuration.secondIoapic;
  if (second !== undefined) ioapic(1, second.address, second.firstGsi);
  bytes.push(4, 6, ALL_PROCESSORS, 0, 0, NMI_LINT);
  return bytes;
}

function rsdpTable(xsdt: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from([
    ...ascii("RSD PTR "),
    0,
    ...ascii(OEM_ID),
    2,
    ...u32(0),
    ...u32(RSDP_LENGTH),
    ...u64(xsdt),
    0,
    0,
    0,
    0,
  ]);
}
