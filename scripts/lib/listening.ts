/** Waiting for a program that is to listen on a unix socket, without connecting to it. */

/** The flag __SO_ACCEPTCON of a socket that listens, in /proc/net/unix (include/uapi/linux/net.h). */
const LISTENING = 1 << 16;
/** How often it is looked for, in milliseconds. */
const INTERVAL = 5;

/**
 * Waits until somebody listens at `path`, among the sockets that process `pid` sees. That the file is
 * there is not enough: bind() makes it, and connections are refused until listen() has returned.
 */
export async function awaitListening(
  path: string,
  pid: number,
  signal: AbortSignal,
): Promise<void> {
  while (!await isListening(path, pid)) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, INTERVAL));
  }
}

async function isListening(path: string, pid: number): Promise<boolean> {
  // Num RefCount Protocol Flags Type St Inode Path, numbers in hexadecimal (proc_pid_net(5)).
  const table = await Deno.readTextFile(`/proc/${pid}/net/unix`).catch(absent);
  return table.split("\n").some((line) => {
    const [, , , flags = "", , , , ...words] = line.trim().split(/ +/);
    return words.join(" ") === path && (parseInt(flags, 16) & LISTENING) !== 0;
  });
}

/** A process that has ended listens nowhere. */
function absent(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "";
  throw error;
}
