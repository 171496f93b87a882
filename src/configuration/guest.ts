/** What the guest starts from, its clock, and what follows from events in it. */

/** What the guest starts from. */
export interface BootConfig {
  readonly kernel?: string;
  readonly initrd?: string;
  /** The kernel's command line. */
  readonly append?: string;
  /** Firmware image. Absent: the board's choice. */
  readonly firmware?: string;
  /** Drives in the order of -boot, as QEMU's letters. */
  readonly order?: string;
  readonly menu?: boolean;
  readonly splash?: string;
  /** Milliseconds. */
  readonly splashTime?: number;
  /** Milliseconds; -1: never. */
  readonly rebootTimeout?: number;
  readonly strict?: boolean;
}

/** -fw_cfg. */
export interface FirmwareItemConfig {
  readonly name: string;
  readonly content:
    | { readonly kind: "file"; readonly path: string }
    | { readonly kind: "string"; readonly text: string };
}

/** -rtc. */
export interface ClockConfig {
  readonly base:
    | { readonly kind: "utc" }
    | { readonly kind: "localtime" }
    /** Seconds since 1970 at the machine's start. */
    | { readonly kind: "date"; readonly seconds: number };
  readonly clock: "host" | "rt" | "vm";
  /** Lost ticks are made up for. */
  readonly slewLostTicks: boolean;
}

/** What follows from events in the guest: -action, -no-reboot, -no-shutdown. */
export interface ActionConfig {
  readonly reboot: "reset" | "shutdown";
  readonly shutdown: "poweroff" | "pause";
  readonly panic: "pause" | "shutdown" | "exit-failure" | "none";
  readonly watchdog:
    | "reset"
    | "shutdown"
    | "poweroff"
    | "inject-nmi"
    | "pause"
    | "debug"
    | "none";
}
