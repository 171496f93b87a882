/** What the kernel tells of a process. */

/** The memfds that a process has open: the inode number of each name. */
export function memoryFiles(pid: number): Map<string, number> {
  const folder = `/proc/${pid}/fd`;
  const files = new Map<string, number>();
  for (const { name } of Deno.readDirSync(folder)) {
    const path = `${folder}/${name}`;
    const target = Deno.readLinkSync(path).match(/^\/memfd:(.*) \(deleted\)$/);
    const inode = Deno.statSync(path).ino;
    if (target?.[1] !== undefined && inode !== null) files.set(target[1], inode);
  }
  return files;
}
