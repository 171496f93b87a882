/** What -object asks for. */
import type { MemoryBackendOptions } from "./memory_backend.ts";
import type { MonitorConfig } from "./character.ts";

/** -object. */
export type ObjectConfig =
  | MemoryBackendConfig
  | IothreadConfig
  | RngConfig
  | MonitorObjectConfig;

/** A memory backend: what to make, and how to map it. */
export type MemoryBackendConfig = { readonly type: "memory-backend" } & MemoryBackendOptions & {
  /** Alignment of the mapping in bytes; 0: the page size's. */
  readonly alignment: number;
};

export interface IothreadConfig {
  readonly type: "iothread";
  readonly id: string;
  /** Longest busy wait in ns, 0: none. */
  readonly pollMaxNs: number;
}

/** A source of random numbers for virtio-rng. */
export type RngConfig =
  | { readonly type: "rng-builtin"; readonly id: string }
  | { readonly type: "rng-random"; readonly id: string; readonly filename: string }
  | { readonly type: "rng-egd"; readonly id: string; readonly chardev: string };

/** A monitor as an object, which QEMU 11.1 prefers to -mon. */
export interface MonitorObjectConfig extends MonitorConfig {
  readonly type: "monitor";
  readonly id: string;
}
