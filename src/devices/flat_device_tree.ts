/**
 * A flattened device tree, version 17 (Devicetree specification, chapter 5): header, an empty memory
 * reservation block, structure block, strings block. All numbers are big-endian.
 *
 * What was added last comes first, for properties as for nodes, and names are stored in the order of
 * their first use: so it comes out as from libfdt, which inserts at the front.
 */

const MAGIC = 0xd00dfeed;
const VERSION = 17;
const COMPATIBLE_VERSION = 16;
const HEADER_SIZE = 40;
/** The reservation block: aligned to 8, and just the entry of zeros that ends it. */
const RESERVATIONS = 0x30;
const STRUCTURE = 0x40;

const BEGIN_NODE = 1;
const END_NODE = 2;
const PROPERTY = 3;
const END = 9;

/** Numbers of 32 bits, a text, or nothing. */
export type PropertyValue = readonly number[] | string;

/** A node under construction. */
export class DeviceTreeNode {
  readonly #name: string;
  readonly #strings: StringsBlock;
  readonly #properties: { nameOffset: number; value: PropertyValue }[] = [];
  readonly #children: DeviceTreeNode[] = [];

  constructor(name: string, strings: StringsBlock) {
    this.#name = name;
    this.#strings = strings;
  }

  add(name: string): DeviceTreeNode {
    const child = new DeviceTreeNode(name, this.#strings);
    this.#children.push(child);
    return child;
  }

  set(name: string, value: PropertyValue): void {
    this.#properties.push({ nameOffset: this.#strings.offsetOf(name), value });
  }

  /** Appends the node's part of the structure block. */
  encode(bytes: number[]): void {
    bytes.push(...u32(BEGIN_NODE), ...padded(text(this.#name)));
    for (const { nameOffset, value } of this.#properties.toReversed()) {
      const encoded = typeof value === "string" ? text(value) : value.flatMap(u32);
      bytes.push(...u32(PROPERTY), ...u32(encoded.length), ...u32(nameOffset), ...padded(encoded));
    }
    for (const child of this.#children.toReversed()) child.encode(bytes);
    bytes.push(...u32(END_NODE));
  }
}

class StringsBlock {
  readonly bytes: number[] = [];
  readonly #offsets = new Map<string, number>();

  offsetOf(name: string): number {
    let offset = this.#offsets.get(name);
    if (offset === undefined) {
      offset = this.bytes.length;
      this.#offsets.set(name, offset);
      this.bytes.push(...text(name));
    }
    return offset;
  }
}

/** A tree under construction. */
export class FlatDeviceTree {
  readonly #strings = new StringsBlock();
  readonly root = new DeviceTreeNode("", this.#strings);

  /** The tree in `size` bytes, padded with zeros. Throws if it is larger. */
  encode(size: number): Uint8Array<ArrayBuffer> {
    const structure: number[] = [];
    this.root.encode(structure);
    structure.push(...u32(END));
    const strings = STRUCTURE + structure.length;
    const end = strings + this.#strings.bytes.length;
    if (end > size) throw new RangeError(`a device tree of ${end} bytes does not fit ${size}`);
    const bytes = new Uint8Array(size);
    const header = [
      MAGIC,
      size,
      STRUCTURE,
      strings,
      RESERVATIONS,
      VERSION,
      COMPATIBLE_VERSION,
      0,
      this.#strings.bytes.length,
      structure.length,
    ];
    bytes.set(header.flatMap(u32).slice(0, HEADER_SIZE));
    bytes.set(structure, STRUCTURE);
    bytes.set(this.#strings.bytes, strings);
    return bytes;
  }
}

function u32(value: number): number[] {
  return [value >>> 24, (value >> 16) & 0xff, (value >> 8) & 0xff, value & 0xff];
}

/** With the NUL that ends it. */
function text(value: string): number[] {
  return [...new TextEncoder().encode(value), 0];
}

function padded(bytes: number[]): number[] {
  while (bytes.length % 4 !== 0) bytes.push(0);
  return bytes;
}
