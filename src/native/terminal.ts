/** Terminals: the user's, and pseudo terminals. */
import { native } from "./library.ts";
import { unwrap } from "./errors.ts";
import { Descriptor, type Fd } from "./descriptor.ts";

/** True if `fd` is a terminal. */
export function isTerminal(fd: Fd): boolean {
  return native.molt_isatty(fd) === 1;
}

/**
 * Puts the terminal `fd` in raw mode until {@linkcode restoreTerminal}; one terminal at a time. Every
 * end of the process but SIGKILL restores it too, an execve does not. With `signals`, Ctrl-C and the
 * like still send signals.
 */
export function makeTerminalRaw(fd: Fd, signals: boolean): void {
  unwrap(native.molt_terminal_raw(fd, signals ? 1 : 0), "Could not set up the terminal");
}

/** Gives the terminal that is in raw mode its settings back, if there is one. */
export function restoreTerminal(): void {
  native.molt_terminal_restore();
}

/** A new pseudo terminal in raw mode; `path` is the slave's, such as /dev/pts/3. */
export function openPseudoTerminal(): { master: Descriptor; slave: Descriptor; path: string } {
  const ends = new Int32Array(2);
  const name = new Uint8Array(128);
  unwrap(
    native.molt_openpty(new Uint8Array(ends.buffer), name, BigInt(name.length)),
    "Could not open a pseudo terminal",
  );
  const path = new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
  return { master: new Descriptor(ends[0]!), slave: new Descriptor(ends[1]!), path };
}

/** Request of ioctl_tty(2): the number of a pseudo terminal, from its master. */
const TIOCGPTN = 0x80045430n;

/** The slave's path of the pseudo terminal whose master is `fd`. */
export function pseudoTerminalPath(fd: Fd): string {
  const number = new Uint32Array(1);
  unwrap(
    native.molt_ioctl(fd, TIOCGPTN, new Uint8Array(number.buffer)),
    () => `Descriptor ${fd} is not a pseudo terminal`,
  );
  return `/dev/pts/${number[0]}`;
}
