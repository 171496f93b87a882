/** The machines that the guests virtio_blk and virtio_net run on: alike in molt and in QEMU. */
import { assertEquals } from "@std/assert";
import { guestImage } from "./programs.ts";
import { patience } from "./patience.ts";

/** What differs from test to test. */
export interface VirtioMachineOptions {
  /** The guest, without `.elf`, and its command line. */
  readonly guest: "virtio_blk" | "virtio_net";
  readonly append: string;
  /** virtio-mmio's registers; QEMU's microvm has the legacy ones unless given otherwise. */
  readonly legacy?: boolean;
  readonly memory?: number;
  /** RAM that a successor can take over. */
  readonly shared?: boolean;
  /** Drives, network and devices. */
  readonly devices: readonly string[];
}

/** Options of either program. The guest's output goes to `log`. */
export function virtioMachine(
  log: GuestLog,
  { guest, append, legacy = false, memory = 64, shared = false, devices }: VirtioMachineOptions,
): string[] {
  const machine = "microvm,acpi=off";
  return [
    ...["-machine", shared ? `${machine},memory-backend=ram0,aux-ram-share=on` : machine],
    ...(shared ? ["-object", `memory-backend-memfd,id=ram0,size=${memory}M,share=on`] : []),
    ...["-global", `virtio-mmio.force-legacy=${legacy ? "on" : "off"}`],
    ...["-accel", "kvm", "-cpu", "host", "-smp", "1", "-m", `${memory}M`],
    ...["-kernel", guestImage(`${guest}.elf`), "-append", append],
    ...["-nodefaults", "-display", "none"],
    ...log.options,
    ...devices,
  ];
}

/** The interrupt of the first device on a board without ACPI. */
export const FIRST_GSI = 12;

/** What a guest that verifies has printed: counters that grow, and no errors. */
export class GuestLog {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
    Deno.writeFileSync(path, new Uint8Array(0));
  }

  /** The options that send a machine's serial output here. */
  get options(): string[] {
    return [
      "-chardev",
      `file,id=serial0,path=${this.path},append=on`,
      "-serial",
      "chardev:serial0",
    ];
  }

  /** The counters of the last line of progress. Fails if the guest has seen anything wrong. */
  verify(): Record<string, number> {
    const text = Deno.readTextFileSync(this.path);
    const lines = text.split("\n").slice(0, -1);
    assertEquals(lines.filter((line) => line.includes("ERROR")), [], this.path);
    const progress = lines.filter((line) => /^(blk|net) \d+ /.test(line));
    // Each line is there, once, and whole.
    progress.forEach((line, i) => assertEquals(Number(line.slice(4, 10)), i + 1, line));
    const counters = Object.fromEntries(
      [...(progress.at(-1) ?? "").matchAll(/(\w+)=(\d+)/g)].map((match) =>
        [match[1] ?? "", Number(match[2])] as const
      ),
    );
    assertEquals(counters["errors"] ?? 0, 0);
    return counters;
  }

  /** Waits until a counter has grown by `count`, and the guest has said so in a new line. */
  async progress(counter: string, count: number, signal = patience()): Promise<void> {
    const goal = (this.verify()[counter] ?? 0) + count;
    while ((this.verify()[counter] ?? 0) < goal) {
      if (signal.aborted) {
        const end = Deno.readTextFileSync(this.path).slice(-300);
        throw new Error(`${counter} does not come to ${goal}: ${end}`, { cause: signal.reason });
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}
