/** Streams that QEMU 11.1.3 wrote; MANIFEST.md says how each was made. */

/** Where the fixtures are. */
const directory = new URL("./qemu-11.1.3/", import.meta.url);

/** The content of a fixture, unpacked. */
export async function fixture(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const packed = await Deno.readFile(new URL(`${name}.gz`, directory));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(unpacked).arrayBuffer());
}

/** Names of all fixtures that are main migration streams. */
export function streamNames(): string[] {
  return Array.from(Deno.readDirSync(directory), (entry) => entry.name.replace(/\.gz$/, ""))
    .filter((name) => /\.(mig|main|fwd|ch0)$/.test(name))
    .sort();
}

/** Offset in its file of a stream that does not begin at 0. */
export function streamOffset(name: string): number {
  return name === "mapped-ram-offset8192.mig" ? 8192 : 0;
}
