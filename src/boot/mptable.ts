/**
 * The MP configuration table: how a guest without ACPI finds its CPUs and how the ISA interrupts
 * are wired to the I/O APIC. Source: Intel MultiProcessor Specification 1.4, chapter 4.
 *
 *     floating pointer "_MP_" -> header "PCMP" -> processors, bus, I/O APIC, interrupts
 */

/** The start of the extended BIOS data area, one of the places that guests search. */
export const mpTableAddress = 0x9fc00;

const floatingPointerSize = 16;
const headerSize = 44;
const processorSize = 20;
const entrySize = 8;

const localApicAddress = 0xfee00000;
const ioApicAddress = 0xfec00000;
const apicVersion = 0x14;
const isaInterrupts = 16;
/** Pin of the I/O APIC to which the timer, ISA interrupt 0, is wired. */
const timerPin = 2;

export interface MpTableOptions {
  /** APIC ids 0 to `cpus - 1`; the boot CPU is 0. 1 to 8. */
  readonly cpus: number;
  /** EAX and EDX of CPUID leaf 1. */
  readonly signature: number;
  readonly features: number;
}

/** The table and its floating pointer, in one piece, to be written at {@linkcode mpTableAddress}. */
export function encodeMpTable(options: MpTableOptions): Uint8Array {
  const { cpus } = options;
  const ioApicId = cpus;
  // Interrupt 2 is the cascade of the PICs: nothing is wired to it.
  const entries = cpus + 2 + (isaInterrupts - 1) + 2;
  const length = headerSize + cpus * processorSize + (entries - cpus) * entrySize;
  const bytes = new Uint8Array(floatingPointerSize + length);
  const view = new DataView(bytes.buffer);
  const text = (offset: number, value: string) =>
    bytes.set(new TextEncoder().encode(value), offset);

  text(0, "_MP_");
  view.setUint32(4, mpTableAddress + floatingPointerSize, true);
  view.setUint8(8, 1); // its length in 16 bytes
  view.setUint8(9, 4); // version 1.4
  setChecksum(bytes.subarray(0, floatingPointerSize), 10);

  const table = floatingPointerSize;
  text(table, "PCMP");
  view.setUint16(table + 4, length, true);
  view.setUint8(table + 6, 4);
  text(table + 8, "MOLT    ");
  text(table + 16, "microvm     ");
  view.setUint16(table + 34, entries, true);
  view.setUint32(table + 36, localApicAddress, true);

  let offset = table + headerSize;
  for (let cpu = 0; cpu < cpus; cpu++) {
    view.setUint8(offset, 0);
    view.setUint8(offset + 1, cpu);
    view.setUint8(offset + 2, apicVersion);
    view.setUint8(offset + 3, cpu === 0 ? 3 : 1); // enabled, boot processor
    view.setUint32(offset + 4, options.signature, true);
    view.setUint32(offset + 8, options.features, true);
    offset += processorSize;
  }
  const entry = (...fields: number[]) => {
    bytes.set(fields, offset);
    offset += entrySize;
  };
  entry(1, 0);
  text(offset - entrySize + 2, "ISA   ");
  entry(2, ioApicId, apicVersion, 1);
  view.setUint32(offset - entrySize + 4, ioApicAddress, true);
  for (let interrupt = 0; interrupt < isaInterrupts; interrupt++) {
    if (interrupt === timerPin) continue;
    // Type INT, polarity and trigger as the bus has them: ISA bus 0 to the I/O APIC.
    entry(3, 0, 0, 0, 0, interrupt, ioApicId, interrupt === 0 ? timerPin : interrupt);
  }
  entry(4, 3, 0, 0, 0, 0, 0, 0); // the PIC's interrupts: LINT0 of the boot CPU
  entry(4, 1, 0, 0, 0, 0, 0xff, 1); // NMI: LINT1 of all
  setChecksum(bytes.subarray(table), 7);
  return bytes;
}

/** Makes the sum of all bytes 0 modulo 256. */
function setChecksum(bytes: Uint8Array, offset: number): void {
  bytes[offset] = 0;
  bytes[offset] = -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}
