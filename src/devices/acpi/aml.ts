/**
 * ACPI Machine Language: functions that return the encoding of one construct, named as in the
 * specification's grammar (ACPI 6.5, chapter 20.2; resource descriptors: chapter 6.4).
 *
 *     scope("_SB", device("PWRB", name("_HID", string("PNP0C0C")), name("_UID", integer(0))))
 */

/** Encoded AML. */
export type Aml = readonly number[];

const ZERO_OP = 0x00;
const ONE_OP = 0x01;
const NAME_OP = 0x08;
const BYTE_PREFIX = 0x0a;
const WORD_PREFIX = 0x0b;
const DWORD_PREFIX = 0x0c;
const STRING_PREFIX = 0x0d;
const SCOPE_OP = 0x10;
const BUFFER_OP = 0x11;
const PACKAGE_OP = 0x12;
const METHOD_OP = 0x14;
const EXTENDED_OP = 0x5b;
const DEVICE_OP = 0x82;
const FIELD_OP = 0x81;
const OPERATION_REGION_OP = 0x80;
const LOCAL0_OP = 0x60;
const STORE_OP = 0x70;
const AND_OP = 0x7b;
const NOTIFY_OP = 0x86;
const EQUAL_OP = 0x93;
const IF_OP = 0xa0;
const ROOT = 0x5c;

const SYSTEM_MEMORY = 0x00;
const FIELD_DWORD_ACCESS = 0x03;
const FIELD_WRITE_AS_ZEROS = 0x40;
const METHOD_SERIALIZED = 0x08;

/** Local0 */
export const local0: Aml = [LOCAL0_OP];

/** An integer constant in its shortest encoding, up to 32 bits. */
export function integer(value: number): Aml {
  if (value === 0) return [ZERO_OP];
  if (value === 1) return [ONE_OP];
  if (value <= 0xff) return [BYTE_PREFIX, value];
  if (value <= 0xffff) return [WORD_PREFIX, ...u16(value)];
  return [DWORD_PREFIX, ...u32(value)];
}

/** A string constant of ASCII characters. */
export function string(text: string): Aml {
  return [STRING_PREFIX, ...ascii(text), 0];
}

/** A compressed EISA id such as `PNP0501`. */
export function eisaId(id: string): Aml {
  const letter = (index: number) => id.charCodeAt(index) - 0x40;
  const vendor = (letter(0) << 10) | (letter(1) << 5) | letter(2);
  const product = parseInt(id.slice(3), 16);
  return [DWORD_PREFIX, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff];
}

/** A name of one segment, padded to four characters; `\` is the root. */
export function nameString(segment: string): Aml {
  return segment === "\\" ? [ROOT, 0] : ascii(segment.padEnd(4, "_"));
}

/** Name (segment, value) */
export function name(segment: string, value: Aml): Aml {
  return [NAME_OP, ...nameString(segment), ...value];
}

/** Scope (segment) { ... } */
export function scope(segment: string, ...body: Aml[]): Aml {
  return packaged([SCOPE_OP], [...nameString(segment), ...body.flat()]);
}

/** Device (segment) { ... } */
export function device(segment: string, ...body: Aml[]): Aml {
  return packaged([EXTENDED_OP, DEVICE_OP], [...nameString(segment), ...body.flat()]);
}

/** Method (segment, argumentCount, Serialized) { ... } */
export function serializedMethod(segment: string, argumentCount: number, ...body: Aml[]): Aml {
  return packaged([METHOD_OP], [
    ...nameString(segment),
    argumentCount | METHOD_SERIALIZED,
    ...body.flat(),
  ]);
}

/** Package () { ... } */
export function packageOf(...elements: Aml[]): Aml {
  return packaged([PACKAGE_OP], [elements.length, ...elements.flat()]);
}

/** OperationRegion (segment, SystemMemory, address, length) */
export function memoryRegion(segment: string, address: number, length: number): Aml {
  return [
    EXTENDED_OP,
    OPERATION_REGION_OP,
    ...nameString(segment),
    SYSTEM_MEMORY,
    ...integer(address),
    ...integer(length),
  ];
}

/** Field (region, DWordAcc, NoLock, WriteAsZeros) { segment, bits } with less than 64 bits. */
export function dwordField(region: string, segment: string, bits: number): Aml {
  return packaged([EXTENDED_OP, FIELD_OP], [
    ...nameString(region),
    FIELD_DWORD_ACCESS | FIELD_WRITE_AS_ZEROS,
    ...nameString(segment),
    bits,
  ]);
}

/** target = source */
export function store(source: Aml, target: Aml): Aml {
  return [STORE_OP, ...source, ...target];
}

/** (left & right), without a target */
export function and(left: Aml, right: Aml): Aml {
  return [AND_OP, ...left, ...right, ZERO_OP];
}

/** (left == right) */
export function equal(left: Aml, right: Aml): Aml {
  return [EQUAL_OP, ...left, ...right];
}

/** If (condition) { ... } */
export function ifThen(condition: Aml, ...body: Aml[]): Aml {
  return packaged([IF_OP], [...condition, ...body.flat()]);
}

/** Notify (segment, value) */
export function notify(segment: string, value: Aml): Aml {
  return [NOTIFY_OP, ...nameString(segment), ...value];
}

/** ResourceTemplate () { ... }: a buffer of descriptors with an end tag whose checksum is unused. */
export function resourceTemplate(...descriptors: Aml[]): Aml {
  const bytes = [...descriptors.flat(), 0x79, 0];
  return packaged([BUFFER_OP], [BYTE_PREFIX, bytes.length, ...bytes]);
}

/** IO (Decode16, port, port, alignment, length) */
export function ioPorts(port: number, alignment: number, length: number): Aml {
  return [0x47, 0x01, ...u16(port), ...u16(port), alignment, length];
}

/** IRQNoFlags () { irq }: edge-triggered, active high, exclusive */
export function irqNoFlags(irq: number): Aml {
  return [0x22, ...u16(1 << irq)];
}

/** IRQ (Level, ActiveLow, Shared) { irq } */
export function irqLevelShared(irq: number): Aml {
  return [0x23, ...u16(1 << irq), 0x18];
}

/** Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { gsi } */
export function interruptEdge(gsi: number): Aml {
  return [0x89, ...u16(6), 0x03, 1, ...u32(gsi)];
}

/** Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) { gsi } */
export function interruptLevel(gsi: number): Aml {
  return [0x89, ...u16(6), 0x01, 1, ...u32(gsi)];
}

/** Memory32Fixed (ReadWrite, address, length) */
export function memory32Fixed(address: number, length: number): Aml {
  return [0x86, ...u16(9), 1, ...u32(address), ...u32(length)];
}

/** An opcode, the length of the package that follows (its own bytes counted) and the package. */
function packaged(opcode: Aml, body: Aml): Aml {
  return [...opcode, ...packageLength(body.length), ...body];
}

function packageLength(bodyLength: number): Aml {
  if (bodyLength + 1 < 1 << 6) return [bodyLength + 1];
  for (let extra = 1; extra <= 3; extra++) {
    const length = bodyLength + 1 + extra;
    if (length >= 1 << (4 + 8 * extra)) continue;
    const bytes = [(extra << 6) | (length & 0x0f)];
    for (let i = 0; i < extra; i++) bytes.push((length >> (4 + 8 * i)) & 0xff);
    return bytes;
  }
  throw new RangeError(`an AML package of ${bodyLength} bytes is too long`);
}

function ascii(text: string): number[] {
  return [...text].map((character) => character.charCodeAt(0));
}

function u16(value: number): number[] {
  return [value & 0xff, (value >> 8) & 0xff];
}

function u32(value: number): number[] {
  return [...u16(value & 0xffff), ...u16(value >>> 16)];
}
