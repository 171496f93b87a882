/**
 * Which process of its guest's life this is. What an older process left for this one in the environment is
 * read once, when the program starts, and removed: children do not inherit it.
 */
import { type InheritedDescriptors, readExecState } from "./descriptors.ts";
import { type InterimMonitorSockets, takeInterimMonitorSockets } from "./interim/duties.ts";
import { type PreflightSockets, takePreflightSockets } from "./preflight/duties.ts";
import { takeInterimMonitorPid } from "./interim/waiting_guest.ts";

/** The part that a process plays. */
export type Role =
  /** It was started by a user: its guest is new, or comes by a migration. */
  | { readonly kind: "first" }
  /** It was executed by cpr-exec in place of its predecessor. */
  | {
    readonly kind: "successor";
    /** What the predecessor left open. */
    readonly inherited: InheritedDescriptors;
    /** The process id of the interim monitor that has the guest meanwhile, if there is one. */
    readonly interimMonitor: number | undefined;
  }
  /** It runs the guest of its parent, which executes its successor (src/interim_monitor.ts). */
  | { readonly kind: "interim"; readonly sockets: InterimMonitorSockets }
  /** It says whether it would take over its parent's guest (src/preflight.ts). */
  | { readonly kind: "preflight"; readonly sockets: PreflightSockets };

/** The roles of a process that is its guest's monitor from the start. */
export type MonitorRole = Exclude<Role, { kind: "interim" | "preflight" }>;

/** Reads this process's role. Throws for an environment that no molt and no QEMU has left. */
export function takeRole(): Role {
  const inherited = readExecState();
  if (inherited !== undefined) {
    return { kind: "successor", inherited, interimMonitor: takeInterimMonitorPid() };
  }
  const preflight = takePreflightSockets();
  if (preflight !== undefined) return { kind: "preflight", sockets: preflight };
  const sockets = takeInterimMonitorSockets();
  return sockets === undefined ? { kind: "first" } : { kind: "interim", sockets };
}
