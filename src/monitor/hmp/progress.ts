/** How far a migration is, in a line for a person. */
import type { MigrationInformation } from "../../migration/information.ts";

/** What is under way. */
export function progressLine(
  { status = "setup", ram, "cpu-throttle-percentage": throttle }: MigrationInformation,
): string {
  if (ram === undefined) return `Migration: ${status}`;
  const sent = ram.total === 0 ? 100 : Math.floor(100 * (1 - ram.remaining / ram.total));
  const rate = size(ram.mbps * 1e6 / 8);
  const slowed = throttle === undefined ? "" : `, guest slowed by ${throttle}%`;
  return `Migration: ${status}, pass ${ram["dirty-sync-count"]}, ${sent}% of ${size(ram.total)}, ` +
    `${rate}/s, ${size(ram.remaining)} remaining${slowed}`;
}

/** How it ended. */
export function outcomeLine(information: MigrationInformation): string {
  const { status, ram, downtime, "total-time": time, "error-desc": reason } = information;
  if (status !== "completed") {
    return `Migration ${status ?? "ended"}${reason === undefined ? "" : `: ${reason}`}`;
  }
  const seconds = ((time ?? 0) / 1000).toFixed(1);
  return `Migration completed: ${size(ram?.transferred ?? 0)} in ${seconds} s, ` +
    `the guest was paused for ${downtime ?? 0} ms`;
}

/** Bytes with three significant digits, as QEMU writes them: `64.1 MiB`. */
export function size(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit++) bytes /= 1024;
  return `${Number(bytes.toPrecision(3))} ${units[unit]}`;
}
