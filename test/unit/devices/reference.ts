/** Blobs that QEMU made, and the parts of the configurations they were made with. */

/** A file of reference/. */
export async function reference(name: string): Promise<Uint8Array<ArrayBuffer>> {
  return await Deno.readFile(new URL(`./reference/${name}`, import.meta.url));
}

export const serial = { port: 0x3f8, irq: 4 };
export const secondIoapic = { address: 0xfec10000, firstGsi: 24 };

/** virtio-mmio transports of the microvm board. */
export function virtioMmio(indexes: readonly number[], firstGsi: number) {
  return indexes.map((index) => ({
    index,
    address: 0xfeb00000 + 0x200 * index,
    length: 0x200,
    gsi: firstGsi + index,
  }));
}
