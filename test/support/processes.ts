/** What the kernel tells of a process. */

/**
 * The memfds of a machine's memory that its process has mapped, as `NAME INODE SIZE` with the size of the
 * mapping in bytes: memory that was copied to another file would have another inode.
 */
export function mappedMemory(pid: number): string[] {
  const mapped = new Set<string>();
  // START-END PERMISSIONS OFFSET DEVICE INODE PATH (proc_pid_maps(5)).
  const line = /^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+)\s+\/memfd:(.*) \(deleted\)$/gm;
  const maps = Deno.readTextFileSync(`/proc/${pid}/maps`);
  for (const [, start, end, inode, name] of maps.matchAll(line)) {
    // Those are molt's own: what it tells a successor.
    if (name?.startsWith("molt")) continue;
    mapped.add(`${name} ${inode} ${Number(`0x${end}`) - Number(`0x${start}`)}`);
  }
  return [...mapped].toSorted();
}
