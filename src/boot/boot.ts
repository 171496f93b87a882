/**
 * What every loader shares. A loader writes guest memory once, before the boot CPU runs, and
 * returns that CPU's state as data:
 *
 *     kernel, initrd, command line -> loader -> guest memory + InitialCpu -> registers.ts -> KVM
 */

/** Guest physical memory as loaders and device DMA see it. Byte addresses are guest physical. */
export interface GuestMemory {
  /** RAM in bytes, wherever the address space has it. */
  readonly size: number;
  /** Throws if any byte of the range is not RAM; then nothing is written. */
  write(address: number, bytes: Uint8Array): void;
  /** A copy. Throws if any byte of the range is not RAM. */
  read(address: number, length: number): Uint8Array;
}

/** A range of guest physical addresses as the guest is informed of it. */
export interface MemoryMapEntry {
  readonly start: number;
  /** In bytes, more than 0. */
  readonly length: number;
  readonly kind: "ram" | "reserved" | "acpi";
}

/** How the boot CPU starts. Registers that are not named are as after reset. */
export type InitialCpu =
  /** 16-bit real mode at `segment:offset`, all segments `segment`; `dl` is the BIOS drive number. */
  | {
    readonly mode: "real";
    readonly segment: number;
    readonly offset: number;
    readonly stackPointer: number;
    readonly dl: number;
  }
  /** 32-bit protected mode without paging, flat segments: the PVH entry, `ebx` its start_info. */
  | { readonly mode: "protected"; readonly entry: number; readonly ebx: number }
  /** Long mode with paging, flat segments: Linux' 64-bit entry, `rsi` its boot_params. */
  | {
    readonly mode: "long";
    readonly entry: number;
    readonly rsi: number;
    readonly stackPointer: number;
    /** Guest physical address of the PML4. */
    readonly cr3: number;
    readonly gdt: { readonly base: number; readonly limit: number };
  }
  /** As the processor's reset leaves it: firmware runs from 0xfffffff0. */
  | { readonly mode: "reset vector" };

/** A file given to a loader. `name` is for messages. */
export interface BootFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** What a kernel is booted with. */
export interface KernelBoot {
  readonly kernel: BootFile;
  readonly initrd?: BootFile;
  /** Without a terminating NUL; encoded as UTF-8. */
  readonly commandLine: string;
  /** Sorted by start, not overlapping. */
  readonly memoryMap: readonly MemoryMapEntry[];
  /** Guest physical address of the ACPI RSDP, if the machine has ACPI tables. */
  readonly rsdpAddress?: number;
}

/** A kernel, initrd or disk cannot be booted. The message names the file and what is wrong. */
export class BootError extends Error {
  override readonly name = "BootError";
}
