/** The microvm board's RAM in the guest physical address space. */

import type { MemoryMapEntry } from "./boot.ts";

/** Where RAM is split: what does not fit below goes to {@linkcode highRamStart}. */
export const lowRamEnd = 0xc0000000;
/** Guest physical address of the RAM that did not fit below {@linkcode lowRamEnd}. */
export const highRamStart = 0x1_0000_0000;
/** Extended BIOS data area: by convention the last KiB of conventional memory. */
const extendedBiosDataArea = 0x9fc00;
const conventionalMemoryEnd = 0xa0000;
/** BIOS area: firmware, and where guests search for tables. */
const biosAreaStart = 0xe0000;
const oneMebibyte = 0x100000;
/** Pages that KVM uses for itself (identity map and TSS), where QEMU places them too. */
const kvmPages = { start: 0xfeffc000, length: 0x4000 };

/** Where RAM lies, as `[start, length]` in bytes: one piece, or two if `size` exceeds 3 GiB. */
export function ramLayout(size: number): readonly { start: number; length: number }[] {
  const low = { start: 0, length: Math.min(size, lowRamEnd) };
  return size <= lowRamEnd ? [low] : [low, { start: highRamStart, length: size - lowRamEnd }];
}

/**
 * The memory map a BIOS would report (INT 15h, E820) for `size` bytes of RAM, sorted by address.
 * `acpi` is where the ACPI tables lie, if a loader put them into RAM above 1 MiB.
 */
export function microvmMemoryMap(
  size: number,
  acpi?: { readonly start: number; readonly length: number },
): readonly MemoryMapEntry[] {
  const map: MemoryMapEntry[] = [
    { start: 0, length: Math.min(size, extendedBiosDataArea), kind: "ram" },
  ];
  if (size > extendedBiosDataArea) {
    map.push({
      start: extendedBiosDataArea,
      length: conventionalMemoryEnd - extendedBiosDataArea,
      kind: "reserved",
    });
  }
  map.push({ start: biosAreaStart, length: oneMebibyte - biosAreaStart, kind: "reserved" });
  for (const { start, length } of ramLayout(size)) {
    if (start >= highRamStart) map.push({ ...kvmPages, kind: "reserved" });
    const end = start + length;
    const from = Math.max(start, oneMebibyte);
    if (end <= from) continue;
    if (acpi !== undefined && acpi.start >= from && acpi.start + acpi.length <= end) {
      const acpiEnd = acpi.start + acpi.length;
      if (acpi.start > from) map.push({ start: from, length: acpi.start - from, kind: "ram" });
      map.push({ start: acpi.start, length: acpi.length, kind: "acpi" });
      if (end > acpiEnd) map.push({ start: acpiEnd, length: end - acpiEnd, kind: "ram" });
    } else {
      map.push({ start: from, length: end - from, kind: "ram" });
    }
  }
  if (size <= lowRamEnd) map.push({ ...kvmPages, kind: "reserved" });
  return map;
}

/** The type numbers of E820 and of PVH's memory map, which agree. */
export function e820Type(kind: MemoryMapEntry["kind"]): number {
  switch (kind) {
    case "ram":
      return 1;
    case "reserved":
      return 2;
    case "acpi":
      return 3;
  }
}

/** Whether `length` bytes from `start` lie in RAM that the guest is informed of. */
export function isRam(
  map: readonly MemoryMapEntry[],
  start: number,
  length: number,
): boolean {
  return map.some((entry) =>
    entry.kind === "ram" && start >= entry.start && start + length <= entry.start + entry.length
  );
}
