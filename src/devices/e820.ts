/**
 * The fw_cfg file `etc/e820`: what firmware is told of memory, besides which it adds what it takes for itself.
 * Entries of 20 bytes: u64 address, u64 length, u32 kind (1 RAM, 2 reserved), little-endian.
 */

/** A range of guest physical memory, in bytes. */
export interface E820Entry {
  readonly start: number;
  readonly length: number;
  readonly kind: "ram" | "reserved";
}

export const E820_FILE = "etc/e820";

const ENTRY_SIZE = 20;
const KINDS = { ram: 1, reserved: 2 } as const;

/** Pages that KVM uses for itself (identity map and TSS), where QEMU places them. */
export const KVM_PAGES: E820Entry = { start: 0xfeffc000, length: 0x4000, kind: "reserved" };

/**
 * Below 1 TiB, where processors by AMD have HyperTransport's addresses: reserved if the guest's processor is one
 * of those and has 40 or more bits of physical address.
 */
export const HYPERTRANSPORT: E820Entry = {
  start: 0xfd_0000_0000,
  length: 0x3_0000_0000,
  kind: "reserved",
};

/** The entries of the q35 board in QEMU's order: what is reserved, then RAM from low to high. */
export function pcE820(
  reserved: readonly E820Entry[],
  ram: readonly { start: number; length: number }[],
): readonly E820Entry[] {
  return [...reserved, ...ram.map((range) => ({ ...range, kind: "ram" as const }))];
}

/** The entries as the file's bytes. */
export function encodeE820(entries: readonly E820Entry[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(entries.length * ENTRY_SIZE);
  const view = new DataView(bytes.buffer);
  entries.forEach(({ start, length, kind }, index) => {
    view.setBigUint64(index * ENTRY_SIZE, BigInt(start), true);
    view.setBigUint64(index * ENTRY_SIZE + 8, BigInt(length), true);
    view.setUint32(index * ENTRY_SIZE + 16, KINDS[kind], true);
  });
  return bytes;
}
