/** The machine that tests run the guest heartbeat on: one that molt and QEMU make alike. */
import type { HeartbeatLog } from "./heartbeat_log.ts";
import { guestImage } from "./programs.ts";

/** What differs from test to test. */
export interface HeartbeatMachineOptions {
  /** Properties of `-machine`. Without ACPI, QEMU starts the guest at once, by its small firmware. */
  readonly machine?: string;
  /** MiB of RAM. */
  readonly memory?: number;
  readonly cpus?: number;
  /** The guest's command line: how much memory it works on, and how fast. */
  readonly append?: string;
  /** RAM in a memfd and auxiliary blocks that a successor can take over. */
  readonly shared?: boolean;
}

/** Options of either program. The guest's output goes to `log`. */
export function heartbeatMachine(
  log: HeartbeatLog,
  {
    machine = "microvm,acpi=off",
    memory = 64,
    cpus = 2,
    append = "memory=16",
    shared = false,
  }: HeartbeatMachineOptions = {},
): string[] {
  const backend = ["-object", `memory-backend-memfd,id=ram0,size=${memory}M,share=on`];
  return [
    ...["-machine", shared ? `${machine},memory-backend=ram0,aux-ram-share=on` : machine],
    ...(shared ? backend : []),
    ...["-accel", "kvm", "-cpu", "host", "-smp", String(cpus), "-m", `${memory}M`],
    ...["-kernel", guestImage("heartbeat.elf"), "-append", append],
    ...["-nodefaults", "-display", "none"],
    ...log.options,
  ];
}
