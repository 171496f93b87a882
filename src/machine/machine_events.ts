/** What happens to a machine, and why it ends, in the words of QMP. */

/** All of QEMU's names, in its order (qapi/run-state.json: ShutdownCause). */
export const shutdownReasons = [
  "none",
  "host-error",
  "host-qmp-quit",
  "host-qmp-system-reset",
  "host-signal",
  "host-ui",
  "guest-shutdown",
  "guest-reset",
  "guest-panic",
  "subsystem-reset",
  "snapshot-load",
] as const;

/** Why a machine shuts down or resets. */
export type ShutdownReason = typeof shutdownReasons[number];

/** What happens to the machine, in the words of QMP's events. */
export type MachineEvent =
  | { readonly name: "STOP" }
  | { readonly name: "RESUME" }
  | {
    readonly name: "SHUTDOWN" | "RESET";
    readonly data: { readonly guest: boolean; readonly reason: ShutdownReason };
  }
  | { readonly name: "POWERDOWN" };
