/** What the kernel tells of a process. */

/** The memfds that a process has open but for those of molt itself: the inode number of each name. */
export function memoryFiles(pid: number): Map<string, number> {
  const folder = `/proc/${pid}/fd`;
  const files = new Map<string, number>();
  for (const entry of Deno.readDirSync(folder)) {
    const path = `${folder}/${entry.name}`;
    const target = Deno.readLinkSync(path).match(/^\/memfd:(.*) \(deleted\)$/);
    const inode = Deno.statSync(path).ino;
    const name = target?.[1];
    if (name !== undefined && !name.startsWith("molt") && inode !== null) files.set(name, inode);
  }
  return files;
}
