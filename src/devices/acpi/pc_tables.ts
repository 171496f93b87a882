/**
 * The ACPI tables of the q35 board, byte for byte as QEMU 11.1 makes them: FACS, DSDT, FADT, MADT, HPET, MCFG,
 * WAET and RSDT one after another in one file, the RSDP (of ACPI 1.0) in another, and the commands that link
 * them. All come from one description of the board. Layouts: ACPI specification 6.5, chapter 5.2; HPET
 * specification 1.0a, 3.2.4; PCI Firmware specification 3.3, 4.1.2; Windows ACPI Emulated Devices Table.
 */
import {
  ALL_PROCESSORS,
  IOAPIC_ADDRESS,
  LOCAL_APIC_ADDRESS,
  MADT_PC_AT,
  MADT_REVISION,
  NMI_LINT,
} from "./madt.ts";
import { ACPI_RSDP_FILE, ACPI_TABLES_FILE } from "../fw_cfg.ts";
import {
  type AcpiFiles,
  ascii,
  HEADER_SIZE,
  OEM_ID,
  table,
  TableFile,
  u16,
  u32,
  u64,
} from "./system_table.ts";
import { encodeLoader } from "./table_loader.ts";

/** A processor that there is or that may be added. */
export interface PcProcessor {
  /** Initial APIC id, 0 to 254. */
  readonly apicId: number;
  readonly present: boolean;
}

/** What the tables say of the board. Registers that firmware sets are as they are when the tables are made. */
export interface PcAcpiBoard {
  /** In the order of their numbers. */
  readonly processors: readonly PcProcessor[];
  /** First port of the ACPI registers: PMBASE of the LPC bridge, 0 while it is not set. */
  readonly powerManagementBase: number;
  /** The ECAM range, if PCIEXBAR of the host bridge is enabled. `buses` are those it has room for. */
  readonly ecam?: { readonly address: number; readonly buses: number } | undefined;
  /** System management mode: ACPI is then off until the guest enables it through the APM port. */
  readonly smm: boolean;
  readonly i8042: boolean;
  readonly hpet: boolean;
}

const FACS_LENGTH = 64;
const DSDT_REVISION = 1;

const FADT_REVISION = 3;
const FADT_LENGTH = 244;
const FADT_FACS = 36;
const FADT_DSDT = 40;
/** Says that interrupts are those of two PICs too; later versions of ACPI took the field away. */
const FADT_INTERRUPT_MODEL = 44;
const FADT_SCI = 46;
const FADT_SMI_COMMAND = 48;
const FADT_ACPI_ENABLE = 52;
const FADT_ACPI_DISABLE = 53;
const FADT_PM1_EVENT = 56;
const FADT_PM1_CONTROL = 64;
const FADT_PM_TIMER = 76;
const FADT_GPE0 = 80;
const FADT_REGISTER_LENGTHS = 88;
const FADT_C2_LATENCY = 96;
const FADT_C3_LATENCY = 98;
const FADT_CENTURY = 108;
const FADT_BOOT_ARCHITECTURE = 109;
const FADT_FLAGS = 112;
const FADT_RESET_REGISTER = 116;
const FADT_RESET_VALUE = 128;
const FADT_X_DSDT = 140;
const FADT_X_PM1_EVENT = 148;
const FADT_X_PM1_CONTROL = 172;
const FADT_X_PM_TIMER = 208;
const FADT_X_GPE0 = 220;

const SCI_IRQ = 9;
const APM_CONTROL_PORT = 0xb2;
const APM_ENABLE_ACPI = 2;
const APM_DISABLE_ACPI = 3;
/** More than the 100 and 1000 µs up to which C2 and C3 are supported. */
const NO_SUCH_STATE = 0xfff;
const CMOS_CENTURY = 0x32;
const BOOT_8042 = 1 << 1;
/** The reset control register of the ICH9 and the value that resets all. */
const RESET_PORT = 0xcf9;
const RESET_VALUE = 0x0f;

/** FADT flags (ACPI 6.5, table 5.10). */
const FLAG_WBINVD = 1 << 0;
const FLAG_PROC_C1 = 1 << 2;
const FLAG_SLEEP_BUTTON_IS_DEVICE = 1 << 5;
const FLAG_RTC_WAKES_S4 = 1 << 7;
const FLAG_RESET_REGISTER = 1 << 10;
const FLAG_USE_PLATFORM_CLOCK = 1 << 15;
/** Logical destinations are in the cluster model: the flat one has room for eight processors. */
const FLAG_FORCE_APIC_CLUSTER = 1 << 18;
const FLAT_PROCESSORS = 8;

/** Offsets in the block at PMBASE, and the lengths of its registers in bytes. */
const PM1_EVENT = { offset: 0, length: 4 };
const PM1_CONTROL = { offset: 4, length: 2 };
const PM_TIMER = { offset: 8, length: 4 };
const GPE0 = { offset: 0x20, length: 16 };

/** IRQs of the ISA bus that are level-triggered and active high: the SCI, and those that PIRQs use. */
const LEVEL_IRQS = [5, 9, 10, 11];
const LEVEL_ACTIVE_HIGH = 0x0d;
/** Ids from here on need entries of x2APICs. */
const APIC_ID_LIMIT = 255;

const HPET_REVISION = 1;
const HPET_ID = 0x8086a201;
const HPET_ADDRESS = 0xfed00000;
const MCFG_REVISION = 1;
const WAET_REVISION = 1;
/** One read of the PM timer is enough. */
const WAET_PM_TIMER_GOOD = 1 << 1;
const RSDT_REVISION = 1;
const RSDP_LENGTH = 20;
const RSDP_CHECKSUM = 8;
const RSDP_RSDT = 16;

/**
 * Builds the tables, unlinked. `dsdt` is the DSDT's definition block without its header.
 * Throws a RangeError if a processor's APIC id does not fit the tables.
 */
export function buildPcAcpiFiles(board: PcAcpiBoard, dsdt: readonly number[]): AcpiFiles {
  const file = new TableFile();
  const facs = file.appendRaw(facsTable());
  const dsdtAt = file.append(table("DSDT", DSDT_REVISION, dsdt));
  const tables = [
    file.append(fadtTable(board, facs, dsdtAt), [
      [FADT_FACS, 4],
      [FADT_DSDT, 4],
      [FADT_X_DSDT, 8],
    ]),
    file.append(table("APIC", MADT_REVISION, madtBody(board.processors))),
  ];
  if (board.hpet) tables.push(file.append(table("HPET", HPET_REVISION, hpetBody())));
  const { ecam } = board;
  if (ecam !== undefined) tables.push(file.append(table("MCFG", MCFG_REVISION, mcfgBody(ecam))));
  tables.push(file.append(table("WAET", WAET_REVISION, u32(WAET_PM_TIMER_GOOD))));
  const rsdt = file.append(
    table("RSDT", RSDT_REVISION, tables.flatMap(u32)),
    tables.map((_, index) => [HEADER_SIZE + 4 * index, 4]),
  );
  const { commands } = file;
  commands.push({
    kind: "add pointer",
    file: ACPI_RSDP_FILE,
    source: ACPI_TABLES_FILE,
    offset: RSDP_RSDT,
    size: 4,
  }, {
    kind: "add checksum",
    file: ACPI_RSDP_FILE,
    offset: RSDP_CHECKSUM,
    start: 0,
    length: RSDP_LENGTH,
  });
  return {
    tables: file.bytes(),
    loader: encodeLoader(commands),
    rsdp: Uint8Array.from([...ascii("RSD PTR "), 0, ...ascii(OEM_ID), 0, ...u32(rsdt)]),
    commands,
  };
}

function facsTable(): number[] {
  const rest = new Array<number>(FACS_LENGTH - 8).fill(0);
  return [...ascii("FACS"), ...u32(FACS_LENGTH), ...rest];
}

function fadtTable(board: PcAcpiBoard, facs: number, dsdt: number): Uint8Array {
  const bytes = Uint8Array.from(
    table("FACP", FADT_REVISION, new Array<number>(FADT_LENGTH - HEADER_SIZE).fill(0)),
  );
  const view = new DataView(bytes.buffer);
  view.setUint32(FADT_FACS, facs, true);
  view.setUint32(FADT_DSDT, dsdt, true);
  view.setBigUint64(FADT_X_DSDT, BigInt(dsdt), true);
  view.setUint8(FADT_INTERRUPT_MODEL, 1);
  view.setUint16(FADT_SCI, SCI_IRQ, true);
  if (board.smm) {
    view.setUint32(FADT_SMI_COMMAND, APM_CONTROL_PORT, true);
    view.setUint8(FADT_ACPI_ENABLE, APM_ENABLE_ACPI);
    view.setUint8(FADT_ACPI_DISABLE, APM_DISABLE_ACPI);
  }
  const base = board.powerManagementBase;
  for (
    const [at, extendedAt, { offset, length }] of [
      [FADT_PM1_EVENT, FADT_X_PM1_EVENT, PM1_EVENT],
      [FADT_PM1_CONTROL, FADT_X_PM1_CONTROL, PM1_CONTROL],
      [FADT_PM_TIMER, FADT_X_PM_TIMER, PM_TIMER],
      [FADT_GPE0, FADT_X_GPE0, GPE0],
    ] as const
  ) {
    view.setUint32(at, base + offset, true);
    bytes.set(ioRegister(base + offset, 8 * length), extendedAt);
  }
  // PM1 events, PM1 control, PM2 control (none), timer, GPE0.
  bytes.set(
    [PM1_EVENT.length, PM1_CONTROL.length, 0, PM_TIMER.length, GPE0.length],
    FADT_REGISTER_LENGTHS,
  );
  view.setUint16(FADT_C2_LATENCY, NO_SUCH_STATE, true);
  view.setUint16(FADT_C3_LATENCY, NO_SUCH_STATE, true);
  view.setUint8(FADT_CENTURY, CMOS_CENTURY);
  view.setUint16(FADT_BOOT_ARCHITECTURE, board.i8042 ? BOOT_8042 : 0, true);
  view.setUint32(FADT_FLAGS, fadtFlags(board), true);
  bytes.set(ioRegister(RESET_PORT, 8), FADT_RESET_REGISTER);
  view.setUint8(FADT_RESET_VALUE, RESET_VALUE);
  return bytes;
}

function fadtFlags(board: PcAcpiBoard): number {
  const flags = FLAG_WBINVD | FLAG_PROC_C1 | FLAG_SLEEP_BUTTON_IS_DEVICE | FLAG_RTC_WAKES_S4 |
    FLAG_RESET_REGISTER | FLAG_USE_PLATFORM_CLOCK;
  return board.processors.length > FLAT_PROCESSORS ? flags | FLAG_FORCE_APIC_CLUSTER : flags;
}

/** A register of `bits` bits at an I/O port as a Generic Address Structure. */
function ioRegister(port: number, bits: number): number[] {
  return [1, bits, 0, 0, ...u64(port)];
}

function madtBody(processors: readonly PcProcessor[]): number[] {
  const bytes = [...u32(LOCAL_APIC_ADDRESS), ...u32(MADT_PC_AT)];
  processors.forEach(({ apicId, present }, index) => {
    if (apicId >= APIC_ID_LIMIT) throw new RangeError(`APIC id ${apicId} needs an x2APIC`);
    bytes.push(0, 8, index, apicId, ...u32(present ? 1 : 0));
  });
  bytes.push(1, 12, 0, 0, ...u32(IOAPIC_ADDRESS), ...u32(0));
  const override = (irq: number, gsi: number, flags: number) => {
    bytes.push(2, 10, 0, irq, ...u32(gsi), ...u16(flags));
  };
  // The timer's IRQ 0 is the I/O APIC's pin 2.
  override(0, 2, 0);
  for (const irq of LEVEL_IRQS) override(irq, irq, LEVEL_ACTIVE_HIGH);
  bytes.push(4, 6, ALL_PROCESSORS, 0, 0, NMI_LINT);
  return bytes;
}

function hpetBody(): number[] {
  return [...u32(HPET_ID), ...memoryBase(HPET_ADDRESS), 0, ...u16(0), 0];
}

/** An address in memory as a Generic Address Structure without a width. */
function memoryBase(address: number): number[] {
  return [0, 0, 0, 0, ...u64(address)];
}

function mcfgBody({ address, buses }: { address: number; buses: number }): number[] {
  return [...u64(0), ...u64(address), ...u16(0), 0, buses - 1, ...u32(0)];
}
