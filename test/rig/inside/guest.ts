/** A stock Linux guest in molt: started, driven through its console, moved from process to process. */
import { TemporaryDirectory } from "../../support/temporary_directory.ts";
import type { QmpClient } from "../../../src/qmp_client/mod.ts";
import type { Vmm } from "../../support/programs.ts";
import { type StartOptions, VirtualMachine } from "../../support/virtual_machine.ts";
import type { KernelForm } from "../plan.ts";
import { GuestConsole } from "./console.ts";
import { foreignState } from "./foreign_state.ts";

/** How long a guest may take to start, in seconds; usually it takes ten. */
const BOOT_PATIENCE = 240;
/** The same of passt. */
const PASST_PATIENCE = 60;
const MEGABYTES = 256;
/** See {@linkcode yieldToHost}. */
const VCPU_NICENESS = "10";
/** Characters of the console that are shown after a failure. */
const CONSOLE_SHOWN = 8000;

const kernels: Readonly<Record<KernelForm, string>> = {
  bzImage: "/rig/vmlinuz",
  PVH: "/rig/vmlinux",
};

/** What kind of guest. */
export interface GuestOptions {
  readonly kernel: KernelForm;
  readonly cpus: number;
}

/** Where the guest's RAM is: in a memfd, or in a file of this name in /dev/shm. */
export type RamPlace = "memfd" | { readonly file: string };

/** Taps on a bridge of the host (see `init`): a process that takes over has to open one that is free. */
export type TapName = "tap0" | "tap1";

/** What a process has that runs the guest; what it takes over with the guest is the same in both. */
export interface Resources {
  readonly ram: RamPlace;
  readonly tap: TapName;
}

/** What distinguishes the processes that run the same guest one after the other. */
export interface ProcessOptions extends Resources {
  /** Values of -incoming. */
  readonly incoming?: readonly string[];
}

/** A start takes longer here than what a molt waits for one elsewhere. */
const patient = ["x-handover-timeout", "x-successor-timeout"]
  .flatMap((name) => ["-global", `migration.${name}=600000`]);

/** A guest, and the process that runs it now. */
export class Guest implements AsyncDisposable {
  readonly options: GuestOptions;
  readonly console = new GuestConsole();
  readonly directory = new TemporaryDirectory("/var/guests");
  readonly #processes: VirtualMachine[] = [];
  readonly #notes: string[] = [];
  readonly #foreign: string[] = [];
  #processCount = 0;
  #resources: Resources = { ram: "memfd", tap: "tap0" };
  #passt: Deno.ChildProcess | undefined;

  private constructor(options: GuestOptions) {
    this.options = options;
  }

  /** Starts a guest and waits until its shell answers. */
  static async boot(options: GuestOptions): Promise<Guest> {
    await Deno.mkdir("/var/guests", { recursive: true });
    const guest = new Guest(options);
    try {
      await Deno.copyFile("/rig/guest.ext4", guest.directory.file("root.ext4"));
      await Deno.truncate(await newFile(guest.directory.file("data.raw")), 16 * 1024 * 1024);
      await guest.#startPasst();
      guest.adopt(await guest.start(guest.resources), guest.resources);
      await guest.console.attach(guest.consolePath);
      await guest.awaitShell();
      return guest;
    } catch (failure) {
      const cause = await guest.examine(failure);
      const error = new Error(`the guest did not start\n${guest.describe()}`, { cause });
      await guest[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The process that runs the guest. */
  get process(): VirtualMachine {
    const process = this.#processes.at(-1);
    if (process === undefined) throw new Error("no process runs the guest");
    return process;
  }

  /** What the process has that runs the guest. */
  get resources(): Resources {
    return this.#resources;
  }

  /** The socket of the console in the process that runs the guest. */
  get consolePath(): string {
    return consoleSocket(this.process.command);
  }

  /** Waits for the shell after a start. */
  async awaitShell(): Promise<void> {
    await this.console.awaitShell(BOOT_PATIENCE);
  }

  /** Starts a process for this guest, the first one or one that can take it over. */
  async start(options: ProcessOptions, vmm: Vmm = "molt"): Promise<VirtualMachine> {
    const number = this.#processCount++;
    const start: StartOptions = { directory: this.directory, name: `${vmm}${number}` };
    const limits = vmm === "molt" ? patient : [];
    const words = [...limits, ...this.#arguments(number, options)];
    const process = await VirtualMachine.start(vmm, words, start);
    await yieldToHost(process);
    return process;
  }

  /** From now on `process` runs the guest. */
  adopt(process: VirtualMachine, resources: Resources): void {
    this.#processes.push(process);
    this.#resources = resources;
  }

  /** Waits until the guest has ended, and its process without an error. */
  async awaitEnd(signal: AbortSignal): Promise<void> {
    const late = Promise.withResolvers<never>();
    signal.addEventListener("abort", () => late.reject(new Error("the process does not end")));
    const { code } = await Promise.race([this.process.exited, late.promise]);
    if (code !== 0) throw new Error(`the process ended with status ${code}`);
  }

  /** Ends the processes that have given the guest away. */
  async endOthers(): Promise<void> {
    const current = this.#processes.pop();
    for (const process of this.#processes.splice(0)) {
      await process.quit();
      await process[Symbol.asyncDispose]();
    }
    if (current) this.#processes.push(current);
  }

  /** Notes when something happened. */
  note(what: string): void {
    this.#notes.push(`${(performance.now() / 1000).toFixed(2)} s: ${what}`);
  }

  /** What to know when something has failed. */
  describe(): string {
    const processes = this.#processes.map((process) => process.describe());
    return [
      ...processes,
      ...this.#notes,
      "the guest's console:",
      this.console.text.slice(-CONSOLE_SHOWN),
    ].join("\n");
  }

  /**
   * Notes what the guest and its processes are doing, as far as they can be asked. Returns what failed:
   * `failure`, with the emulator named if that has lost the guest.
   */
  async examine(failure: unknown): Promise<unknown> {
    this.note(`failed: ${failure}`);
    try {
      await this.#examine();
    } catch (error) {
      this.note(`no more can be said: ${error}`);
    }
    if (this.#foreign.length === 0) return failure;
    const text = `THE EMULATOR LOST THIS GUEST, not molt: ${this.#foreign.join("; ")}`;
    return new Error(text, { cause: failure });
  }

  async #examine(): Promise<void> {
    for (const command of ["dmesg | tail -n 40", "cat /proc/net/tcp", "cat /proc/interrupts"]) {
      const result = await this.console.run(command, 10).catch(String);
      this.note(`guest: ${command}: ${typeof result === "string" ? result : result.text}`);
    }
    this.note(`/proc/net/tcp: ${await Deno.readTextFile("/proc/net/tcp")}`);
    for (const process of this.#processes.filter(({ alive }) => alive)) {
      this.note(`${process.pid}: ${await ask(process.qmp, "info status")}`);
      const registers = await ask(process.qmp, "info registers -a");
      this.note(`${process.pid}: ${registers}`);
      this.#foreign.push(...foreignState(registers, MEGABYTES << 20));
      const folder = `/proc/${process.pid}/task`;
      for await (const { name } of Deno.readDir(folder)) {
        const file = (path: string) => Deno.readTextFile(`${folder}/${name}/${path}`);
        const [stat, place] = [await file("stat"), await file("wchan").catch(() => "")];
        this.note(`thread ${stat.split(" ").slice(0, 15).join(" ")} in ${place}`);
      }
      this.note(await statistics(process.pid));
      await new Promise((resolve) => setTimeout(resolve, 1000));
      this.note(await statistics(process.pid));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.console[Symbol.dispose]();
    for (const process of this.#processes) await process[Symbol.asyncDispose]();
    await this.#endPasst();
    const { ram } = this.#resources;
    if (ram !== "memfd") await Deno.remove(ram.file);
    this.directory[Symbol.dispose]();
  }

  /** Starts the guest's second network. It outlives the processes that run the guest. */
  async #startPasst(): Promise<void> {
    const socket = this.directory.file("passt");
    this.#passt = new Deno.Command("passt", {
      args: [
        ...["--foreground", "--quiet", "--runas", "0", "--socket", socket, "--interface", "uplink"],
        ...["--ipv4-only", "--tcp-ports", "none", "--udp-ports", "none"],
        ...["--log-file", this.directory.file("passt.log")],
      ],
      stdin: "null",
      stderr: "null",
    }).spawn();
    const deadline = Date.now() + PASST_PATIENCE * 1000;
    while (!await Deno.lstat(socket).then(() => true, () => false)) {
      if (Date.now() > deadline) throw new Error("passt has made no socket");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async #endPasst(): Promise<void> {
    try {
      this.#passt?.kill("SIGKILL");
    } catch (error) {
      // It has ended by itself.
      if (!(error instanceof TypeError)) throw error;
    }
    await this.#passt?.status;
  }

  #arguments(number: number, { ram, tap, incoming = [] }: ProcessOptions): string[] {
    const { kernel, cpus } = this.options;
    const backend = ram === "memfd"
      ? `memory-backend-memfd,id=ram0,size=${MEGABYTES}M,share=on`
      : `memory-backend-file,id=ram0,size=${MEGABYTES}M,share=on,mem-path=${ram.file}`;
    const kernelArguments = "console=ttyS0 panic=-1 mitigations=off quiet";
    const console = `${this.directory.path}/console${number}`;
    return [
      ...[
        "-machine",
        "microvm,acpi=on,rtc=on,pit=off,pic=off,memory-backend=ram0,aux-ram-share=on",
      ],
      ...["-object", backend, "-m", `${MEGABYTES}M`],
      ...["-accel", "kvm", "-cpu", "host", "-smp", String(cpus)],
      ...[
        "-kernel",
        kernels[kernel],
        "-initrd",
        "/rig/guest.initramfs",
        "-append",
        kernelArguments,
      ],
      ...["-nodefaults", "-no-user-config", "-display", "none"],
      ...["-chardev", `socket,id=console,path=${console},server=on,wait=off`],
      ...["-serial", "chardev:console"],
      ...this.#disk("root", "root.ext4"),
      ...this.#disk("data", "data.raw"),
      ...["-device", "virtio-rng-device"],
      ...["-netdev", `tap,id=tap,ifname=${tap},script=no,downscript=no`],
      ...["-device", "virtio-net-device,netdev=tap,mac=52:54:00:00:00:01"],
      ...[
        "-netdev",
        `stream,id=passt,server=off,addr.type=unix,addr.path=${this.directory.file("passt")},` +
        "reconnect-ms=200",
      ],
      ...["-device", "virtio-net-device,netdev=passt,mac=52:54:00:00:00:02"],
      ...incoming.flatMap((value) => ["-incoming", value]),
    ];
  }

  #disk(name: string, file: string): string[] {
    const path = this.directory.file(file);
    return [
      ...["-drive", `if=none,id=${name},file=${path},format=raw,cache=none`],
      ...["-device", `virtio-blk-device,drive=${name},serial=${name}`],
    ];
  }
}

async function ask(qmp: QmpClient, command: string): Promise<string> {
  const signal = AbortSignal.timeout(5000);
  const options = { "command-line": command };
  return await qmp.execute("human-monitor-command", options, { signal }).catch(String);
}

/**
 * Has the guest leave the emulated machine's only processor to whoever else needs it. Without that a
 * successor takes half as long again to start.
 */
export async function yieldToHost({ qmp }: VirtualMachine): Promise<void> {
  const vcpus = await qmp.execute("query-cpus-fast");
  const threads = vcpus.map((vcpu) => String(vcpu["thread-id"]));
  const args = ["-n", VCPU_NICENESS, "-p", ...threads];
  const { success, stderr } = await new Deno.Command("renice", { args }).output();
  if (!success) throw new Error(`renice: ${new TextDecoder().decode(stderr)}`);
}

/** KVM's counters of a process's machine. */
async function statistics(pid: number): Promise<string> {
  const root = "/sys/kernel/debug/kvm";
  const lines: string[] = [];
  for await (const { name } of Deno.readDir(root)) {
    if (!name.startsWith(`${pid}-`)) continue;
    for await (const { name: counter, isFile } of Deno.readDir(`${root}/${name}`)) {
      if (!isFile) continue;
      const value = (await Deno.readTextFile(`${root}/${name}/${counter}`).catch(() => "")).trim();
      if (/^[1-9]\d*$/.test(value)) lines.push(`${counter}=${value}`);
    }
  }
  return lines.sort().join(" ");
}

function consoleSocket(command: readonly string[]): string {
  const path = command.join(" ").match(/path=([^ ,]+\/console\d+),/)?.[1];
  if (path === undefined) throw new Error("the machine has no console");
  return path;
}

async function newFile(path: string): Promise<string> {
  await Deno.writeFile(path, new Uint8Array());
  return path;
}
