/** Network backends: -netdev. */
import type { OnOffAuto } from "./machine.ts";

/** -netdev. */
export type NetdevConfig = { readonly id: string } & NetworkBackend;

export type NetworkBackend =
  | TapConfig
  /** A stream of length-prefixed frames: QEMU's `socket` in its stream forms, and `stream`. */
  | {
    readonly type: "stream";
    readonly server: boolean;
    readonly address: NetworkAddress;
    /** Milliseconds between attempts to connect again; 0: none. */
    readonly reconnectMs: number;
  }
  /** Datagrams, one frame each. */
  | {
    readonly type: "dgram";
    readonly local?: NetworkAddress;
    readonly remote?: NetworkAddress;
  };

/** A tap interface: a queue pair for each descriptor. */
export interface TapConfig {
  readonly type: "tap";
  readonly source:
    | {
      readonly kind: "interface";
      /** Absent: the kernel names it. */
      readonly name?: string;
      readonly queues: number;
      /** Programs run with the interface's name; `undefined`: none. */
      readonly script: string | undefined;
      readonly downscript: string | undefined;
    }
    | { readonly kind: "descriptors"; readonly names: readonly string[] };
  /** `auto`: used if the interface has it. */
  readonly vnetHeader: OnOffAuto;
  /** Bytes; absent: unlimited. */
  readonly sendBuffer?: number;
}

export type NetworkAddress =
  | { readonly kind: "inet"; readonly host: string; readonly port: string }
  | { readonly kind: "unix"; readonly path: string; readonly abstract: boolean }
  /** A descriptor's number, or the name getfd gave it. */
  | { readonly kind: "fd"; readonly name: string };
