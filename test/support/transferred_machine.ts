/** A guest under load that goes from process to process by cpr-transfer. */
import { assertEquals } from "@std/assert";
import { awaitListening } from "../../scripts/lib/listening.ts";
import { awaitMigration, type MigrationChannel } from "../../src/qmp_client/mod.ts";
import { HeartbeatLog } from "./heartbeat_log.ts";
import { heartbeatMachine, type HeartbeatMachineOptions } from "./heartbeat_machine.ts";
import { patience } from "./patience.ts";
import { TemporaryDirectory } from "./temporary_directory.ts";
import { VirtualMachine } from "./virtual_machine.ts";

/** A process that waits for the guest, and where it listens. */
export interface Destination {
  readonly vm: VirtualMachine;
  readonly channels: Channels;
}

/** The main channel and that for descriptors. */
type Channels = readonly [main: MigrationChannel, cpr: MigrationChannel];

/** The two channels at the unix sockets `main` and `cpr`. */
export function unixChannels(main: string, cpr: string): Channels {
  const unix = (type: "main" | "cpr", path: string): MigrationChannel => ({
    "channel-type": type,
    "addr": { transport: "socket", type: "unix", path },
  });
  return [unix("main", main), unix("cpr", cpr)];
}

/** The process that has the guest. */
export class TransferredMachine implements AsyncDisposable {
  readonly directory = new TemporaryDirectory();
  readonly log: HeartbeatLog;
  readonly #options: HeartbeatMachineOptions;
  readonly #started: VirtualMachine[] = [];
  #current: VirtualMachine | undefined;

  private constructor(options: HeartbeatMachineOptions) {
    this.log = new HeartbeatLog(this.directory.file("serial"));
    this.#options = options;
  }

  static async start(
    options: HeartbeatMachineOptions = { shared: "memfd" },
  ): Promise<TransferredMachine> {
    const machine = new TransferredMachine(options);
    try {
      machine.#current = await machine.#start([]);
      await machine.log.beats(2);
      return machine;
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The process that has the guest. */
  get vm(): VirtualMachine {
    if (this.#current === undefined) throw new Error("no process has the guest");
    return this.#current;
  }

  /**
   * Starts a process that waits for the guest; with `defer` its main channel is opened later. `more` are
   * further options of it.
   */
  async destination(
    { defer = false, more = [] }: { defer?: boolean; more?: readonly string[] } = {},
  ): Promise<Destination> {
    const name = `${this.#started.length}`;
    const file = (type: string) => this.directory.file(`${name}.${type}`);
    const channels = unixChannels(file("main"), file("cpr"));
    const [main, cpr] = channels.map((channel) => JSON.stringify(channel));
    const incoming = ["-incoming", defer ? "defer" : `${main}`, "-incoming", `${cpr}`];
    const vm = await this.#start([...incoming, ...more]);
    await awaitListening(file("cpr"), vm.pid, patience());
    return { vm, channels };
  }

  /** Asks the process that has the guest to hand it over. */
  async migrate({ channels }: { readonly channels: readonly MigrationChannel[] }): Promise<void> {
    const { qmp } = this.vm;
    await qmp.execute("migrate-set-parameters", { mode: "cpr-transfer" });
    await qmp.execute("migrate", { channels: [...channels] });
  }

  /** Waits until the guest, on its way to `destination`, runs there, and ends the process that had it. */
  async arrive({ vm }: Destination): Promise<void> {
    const source = this.vm;
    try {
      await awaitMigration(source.qmp, { signal: patience() });
      await awaitMigration(vm.qmp, { signal: patience() });
      assertEquals((await source.qmp.execute("query-status")).status, "postmigrate");
      assertEquals((await vm.qmp.execute("query-status")).status, "running");
    } catch (cause) {
      throw new Error(`no handover:\n${source.describe()}\n${vm.describe()}`, { cause });
    }
    this.#current = vm;
    await source.quit();
  }

  /** Hands the guest to `destination`. */
  async transfer(destination: Destination): Promise<void> {
    await this.migrate(destination);
    await this.arrive(destination);
  }

  /** Another process has turned out to have the guest. */
  follow(vm: VirtualMachine): void {
    this.#current = vm;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const vm of this.#started) await vm[Symbol.asyncDispose]();
    this.log[Symbol.dispose]();
    this.directory[Symbol.dispose]();
  }

  async #start(incoming: readonly string[]): Promise<VirtualMachine> {
    const vm = await VirtualMachine.start(
      "molt",
      [...heartbeatMachine(this.log, this.#options), ...incoming],
      { directory: this.directory, name: `${this.#started.length}` },
    );
    this.#started.push(vm);
    return vm;
  }
}
