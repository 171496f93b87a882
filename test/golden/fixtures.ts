/** Streams that QEMU 11.1.3 wrote; MANIFEST.md and qemu-11.1.3-q35.md say how each was made. */

/** Where the fixtures are. */
const directory = new URL("./qemu-11.1.3/", import.meta.url);
const q35Directory = new URL("./qemu-11.1.3-q35/", import.meta.url);

/** The content of a fixture of `-M microvm`, unpacked. */
export function fixture(name: string): Promise<Uint8Array<ArrayBuffer>> {
  return unpack(new URL(`${name}.gz`, directory));
}

/** The content of a fixture of `-M q35`, unpacked. */
export function q35Fixture(name: string): Promise<Uint8Array<ArrayBuffer>> {
  return unpack(new URL(`${name}.gz`, q35Directory));
}

async function unpack(path: URL): Promise<Uint8Array<ArrayBuffer>> {
  const packed = await Deno.readFile(path);
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(unpacked).arrayBuffer());
}

/** Names of all fixtures of `-M microvm` that are main migration streams. */
export function streamNames(): string[] {
  return streamsIn(directory);
}

/** Names of all fixtures of `-M q35` that are main migration streams. */
export function q35StreamNames(): string[] {
  return streamsIn(q35Directory);
}

function streamsIn(folder: URL): string[] {
  return Array.from(Deno.readDirSync(folder), (entry) => entry.name.replace(/\.gz$/, ""))
    .filter((name) => /\.(mig|main|fwd|ch0)$/.test(name))
    .sort();
}

/** Offset in its file of a stream that does not begin at 0. */
export function streamOffset(name: string): number {
  return name === "mapped-ram-offset8192.mig" ? 8192 : 0;
}
