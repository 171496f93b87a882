/** What the kernel reports of a process. */

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
    // Those are molt's own: what it gives a successor.
    if (name?.startsWith("molt")) continue;
    mapped.add(`${name} ${inode} ${Number(`0x${end}`) - Number(`0x${start}`)}`);
  }
  return [...mapped].toSorted();
}

/** What a process holds. */
export interface ProcessResources {
  /** What its descriptors refer to, sorted; numbers that differ from one to the next left out. */
  readonly descriptors: readonly string[];
  readonly residentBytes: number;
}

/** What the process `pid` holds now. */
export function resources(pid: number): ProcessResources {
  const descriptors = [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) =>
    Deno.readLinkSync(`/proc/${pid}/fd/${name}`).replace(/\[\d+\]/, "")
  );
  const [, resident] = Deno.readTextFileSync(`/proc/${pid}/statm`).split(" ").map(Number);
  return {
    descriptors: descriptors.toSorted(),
    residentBytes: (resident ?? 0) * 4096,
  };
}

function allProcesses(): number[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => Number(name)).filter(Number.isInteger);
}

/** Process ids of those whose environment says `name=value`; ended ones are not among them. */
export function processesWith(name: string, value: string): number[] {
  return allProcesses().filter((process) => {
    try {
      const environment = Deno.readTextFileSync(`/proc/${process}/environ`);
      return environment.split("\0").includes(`${name}=${value}`);
    } catch {
      return false;
    }
  });
}

/** Process ids of the children of `pid`, ended ones that it has not asked for among them. */
export function childrenOf(pid: number): number[] {
  return allProcesses().filter((process) => {
    try {
      // PID (NAME) STATE PARENT ... (proc_pid_stat(5)); a name may contain anything.
      const stat = Deno.readTextFileSync(`/proc/${process}/stat`);
      return Number(stat.slice(stat.lastIndexOf(")")).split(" ")[2]) === pid;
    } catch {
      return false;
    }
  });
}

/** Sends a signal to a process that may have ended by itself. */
export function killIfThere(pid: number, signal: Deno.Signal = "SIGKILL"): void {
  try {
    Deno.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
