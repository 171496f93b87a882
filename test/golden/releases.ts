/** What earlier releases of molt wrote; releases/README.md says how. */

const folder = new URL("./releases/", import.meta.url);

/** Releases whose streams and programs are tested with, oldest first. */
export const releases = ["v0.1.0"] as const;
export type Release = typeof releases[number];

/**
 * Streams of a release and the machine that each was saved from: molt's options but for the guest's image.
 * `folder` is for its socket.
 */
export const releasedStreams = {
  "microvm.mig": () => ["-M", "microvm", "-m", "64M", "-smp", "2"],
  "virtio-idle.mig": (folder: string) => [
    ...["-M", "microvm", "-m", "64M", "-smp", "1"],
    ...["-blockdev", "null-co,node-name=d,size=1048576,read-zeroes=on"],
    ...["-device", "virtio-blk-device,drive=d"],
    ...["-netdev", `stream,id=n,server=on,addr.type=unix,addr.path=${folder}/net`],
    ...["-device", "virtio-net-device,netdev=n"],
    ...["-device", "virtio-rng-device", "-device", "virtio-serial-device"],
    ...["-chardev", "null,id=c", "-device", "virtserialport,chardev=c,name=port"],
    ...["-device", "virtio-balloon-device"],
  ],
  "mapped-ram.mig": () => ["-M", "microvm,acpi=off", "-m", "64M", "-smp", "1"],
} satisfies Record<string, (folder: string) => string[]>;
export type ReleasedStream = keyof typeof releasedStreams;
export const releasedStreamNames = Object.keys(releasedStreams) as ReleasedStream[];

/** The commit that a release was built from: a checkout may lack its tag. */
export async function commitOf(release: Release): Promise<string> {
  return (await Deno.readTextFile(new URL(`${release}/commit`, folder))).trim();
}

/** A stream, unpacked. */
export async function releasedStream(
  release: Release,
  name: ReleasedStream,
): Promise<Uint8Array<ArrayBuffer>> {
  const packed = await Deno.readFile(new URL(`${release}/${name}.gz`, folder));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(unpacked).arrayBuffer());
}
