/** What ps shows of this process's command line: /proc/PID/cmdline (proc_pid_cmdline(5)). */
import { native } from "./library.ts";
import { Errno, unwrap } from "./errors.ts";
import { readFileUnsized } from "./file.ts";

/** PR_SET_MM_ARG_END of prctl(2). */
const ARG_END = 9;

/** Where the memory is that the first command line is in, once that was looked up. */
let area: { readonly start: bigint; readonly room: number } | undefined;

/** The words of this process's command line. */
export function shownCommandLine(): string[] {
  return new TextDecoder().decode(readFileUnsized("/proc/self/cmdline")).split("\0").slice(0, -1);
}

/**
 * Has ps show `words` from now on. False if there is no room: the kernel shows the memory that the first
 * command line is in. Without CAP_SYS_RESOURCE the rest of that memory is shown as empty words.
 */
export function showCommandLine(words: readonly string[]): boolean {
  const bytes = new TextEncoder().encode(words.map((word) => `${word}\0`).join(""));
  const { start, room } = area ??= findArea();
  const pointer = Deno.UnsafePointer.create(start);
  if (pointer === null || bytes.length > room) return false;
  const shown = new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(pointer, room));
  shown.fill(0);
  shown.set(bytes);
  const outcome = native.molt_set_memory_layout(ARG_END, start + BigInt(bytes.length));
  if (outcome !== -Errno.EPERM) unwrap(outcome, "Could not shorten the command line that ps shows");
  return true;
}

function findArea() {
  // PID (NAME) STATE PARENT ...; arg_start and arg_end are the 48th and 49th (proc_pid_stat(5)).
  const stat = new TextDecoder().decode(readFileUnsized("/proc/self/stat"));
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [start, end] = [BigInt(fields[48 - 3] ?? 0), BigInt(fields[49 - 3] ?? 0)];
  return { start, room: Number(end - start) };
}
