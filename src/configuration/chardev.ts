/** Character devices: what -chardev and chardev-add ask for. */
import type { SocketAddress } from "../native/socket.ts";

/** Where a socket chardev listens or connects. */
export type ChardevAddress =
  | SocketAddress
  /** An inherited descriptor, by number. */
  | { readonly kind: "fd"; readonly fd: number }
  /** A descriptor that a monitor's getfd named. */
  | { readonly kind: "named"; readonly name: string };

/** A listening socket takes one client at a time, a connecting one is the client. */
export type SocketRole =
  | {
    readonly kind: "server";
    /** Start-up waits for the first client. */
    readonly wait: boolean;
  }
  | {
    readonly kind: "client";
    /** Milliseconds between attempts to connect again after a disconnect; 0: no attempt. */
    readonly reconnectMs: number;
  };

/** What is at the host's end of a character device. */
export type ChardevBackendOptions =
  | { readonly kind: "null" }
  | {
    readonly kind: "file";
    readonly path: string;
    /** Append to the file instead of emptying it. */
    readonly append: boolean;
    readonly inputPath?: string;
  }
  | {
    readonly kind: "stdio";
    /** Ctrl-C and the like send signals to this process instead of reaching the frontend. */
    readonly signal: boolean;
  }
  | {
    readonly kind: "pty";
    /** A symbolic link to the terminal, made and removed with it. */
    readonly path?: string;
  }
  | { readonly kind: "pipe"; readonly path: string }
  | {
    readonly kind: "ringbuf";
    /** Bytes; a power of two. */
    readonly size: number;
  }
  | { readonly kind: "fd"; readonly fd: number }
  | { readonly kind: "socket"; readonly address: ChardevAddress; readonly role: SocketRole }
  | { readonly kind: "mux"; readonly chardev: string };

/** A character device as an option or chardev-add asks for it. */
export interface ChardevOptions {
  readonly id: string;
  readonly backend: ChardevBackendOptions;
  /** A copy of all output goes to this file. */
  readonly logfile?: string;
  readonly logappend: boolean;
  /** Several frontends share the device; see backends/mux.ts. */
  readonly mux: boolean;
  /** Its descriptors, and with them its connection, survive cpr-exec and cpr-transfer. */
  readonly cpr: boolean;
  /** The option that asks for it, to stand before what goes wrong: `-chardev pty,id=a: `. */
  readonly origin?: string;
}
