/** The machine that tests run the guest heartbeat on: one that molt and QEMU make alike. */
import { guestImage } from "./programs.ts";

/** Where a guest's output goes: the options that say so. */
export interface SerialPort {
  readonly options: readonly string[];
}

/** What differs from test to test. */
export interface HeartbeatMachineOptions {
  /** Properties of `-machine`. Without ACPI, QEMU starts the guest at once, by its small firmware. */
  readonly machine?: string;
  /** MiB of RAM. */
  readonly memory?: number;
  readonly cpus?: number;
  /** The guest's command line: how much memory it works on, and how fast. */
  readonly append?: string;
  /** RAM that a successor can take over, in a memfd or in a file; the auxiliary blocks as well. */
  readonly shared?: "memfd" | { readonly file: string };
}

/** Options of either program. The guest's output goes to `serial`, such as a HeartbeatLog. */
export function heartbeatMachine(
  serial: SerialPort,
  {
    machine = "microvm,acpi=off",
    memory = 64,
    cpus = 2,
    append = "memory=16",
    shared,
  }: HeartbeatMachineOptions = {},
): string[] {
  const properties = `id=ram0,size=${memory}M,share=on`;
  const backend = shared === undefined
    ? []
    : shared === "memfd"
    ? ["-object", `memory-backend-memfd,${properties}`]
    : ["-object", `memory-backend-file,${properties},mem-path=${shared.file}`];
  return [
    ...["-machine", shared ? `${machine},memory-backend=ram0,aux-ram-share=on` : machine],
    ...backend,
    ...["-accel", "kvm", "-cpu", "host", "-smp", String(cpus), "-m", `${memory}M`],
    ...["-kernel", guestImage("heartbeat.elf"), "-append", append],
    ...["-nodefaults", "-display", "none"],
    ...serial.options,
  ];
}
