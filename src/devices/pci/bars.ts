/** Base address registers: what they declare in configuration space, and where they put their region. */
import type { ConfigSpace } from "./config_space.ts";
import { Command, Header } from "./header.ts";

/** What a BAR maps. */
export interface BarDeclaration {
  /** 0 to 5. One of 64 bits takes the next number too. */
  readonly index: number;
  readonly kind: "io" | "memory" | "memory64";
  readonly prefetchable?: boolean;
  /** Bytes: a power of two, at least 4 of I/O and 16 of memory. */
  readonly size: number;
}

/** Declares a BAR. */
export function addBar(space: ConfigSpace, bar: BarDeclaration): void {
  const offset = barOffset(bar.index);
  const type = bar.kind === "io"
    ? 1
    : (bar.kind === "memory64" ? 4 : 0) | (bar.prefetchable ? 8 : 0);
  const address = ~(BigInt(bar.size) - 1n);
  space.register(offset, 4, type, { writable: Number(BigInt.asUintN(32, address)) });
  if (bar.kind !== "memory64") return;
  space.register(offset + 4, 4, 0, { writable: Number(BigInt.asUintN(32, address >> 32n)) });
}

/** Where the register of a device's BAR is. */
export function barOffset(index: number): number {
  return Header.bars + 4 * index;
}

/**
 * Where the guest wants a BAR: `undefined` if the command register has its space off, or if there cannot
 * be anything: at 0, at the end of the address space (as while the BAR is sized), or beyond 64 KiB of I/O.
 */
export function barAddress(space: ConfigSpace, bar: BarDeclaration): bigint | undefined {
  const command = space.get(Header.command, 2);
  const enabled = bar.kind === "io" ? Command.io : Command.memory;
  if ((command & enabled) === 0) return undefined;
  const offset = barOffset(bar.index);
  const size = BigInt(bar.size);
  const low = BigInt(space.get(offset, 4));
  const high = bar.kind === "memory64" ? BigInt(space.get(offset + 4, 4)) << 32n : 0n;
  const address = (high | low) & ~(size - 1n);
  const last = address + size - 1n;
  if (address === 0n) return undefined;
  if (bar.kind === "io") return last < 0x1_0000n ? address : undefined;
  if (last >= (bar.kind === "memory64" ? 0xffff_ffff_ffff_ffffn : 0xffff_ffffn)) return undefined;
  return address;
}
