/** A machine with the guest heartbeat whose console and monitor survive live updates, and its clients. */
import type { MigrationChannel } from "../../src/qmp_client/mod.ts";
import { awaitListening } from "../../scripts/lib/listening.ts";
import { ConsoleClient } from "./console_client.ts";
import { DetachedProcess } from "./detached.ts";
import { heartbeatMachine, type HeartbeatMachineOptions } from "./heartbeat_machine.ts";
import { patience } from "./patience.ts";
import { QmpTranscript } from "./qmp_transcript.ts";
import type { TemporaryDirectory } from "./temporary_directory.ts";
import { VirtualMachine } from "./virtual_machine.ts";

/** The options of a socket that survives. */
export function survivingSocket(id: string, path: string, more = ""): string[] {
  return ["-chardev", `socket,id=${id},path=${path},server=on,wait=off,cpr=on${more}`];
}

/** How to make a surviving machine. */
export interface SurvivingMachineOptions extends HeartbeatMachineOptions {
  /** The console's character device, in place of a socket with a client. The guest waits for `cont`. */
  readonly console?: string;
  readonly more?: readonly string[];
}

/** The machine, one client on its surviving monitor, and by default one at its console. */
export class SurvivingMachine implements AsyncDisposable {
  readonly directory: TemporaryDirectory;
  /** What the machine is started with, but for the monitor of its own that each process has. */
  readonly options: readonly string[];
  /** The file that the console's output is copied to. */
  readonly logFile: string;
  readonly client: QmpTranscript;
  /** The process that has the guest, whose own monitor does not survive. */
  vm: VirtualMachine;
  readonly #user: ConsoleClient | undefined;
  readonly #stack: AsyncDisposableStack;
  #transfers = 0;

  private constructor(
    parts: {
      directory: TemporaryDirectory;
      options: readonly string[];
      logFile: string;
      client: QmpTranscript;
      vm: VirtualMachine;
      user: ConsoleClient | undefined;
    },
    stack: AsyncDisposableStack,
  ) {
    this.directory = parts.directory;
    this.options = parts.options;
    this.logFile = parts.logFile;
    this.client = parts.client;
    this.vm = parts.vm;
    this.#user = parts.user;
    this.#stack = stack;
  }

  /** Starts the guest once the clients are there: they receive everything. */
  static async start(
    directory: TemporaryDirectory,
    { console, more = [], ...machine }: SurvivingMachineOptions = {},
  ): Promise<SurvivingMachine> {
    await using stack = new AsyncDisposableStack();
    const [path, monitor] = [directory.file("console"), directory.file("monitor")];
    const logFile = directory.file("console.log");
    const chardev = console === undefined
      ? survivingSocket("serial0", path, `,logfile=${logFile}`)
      : ["-chardev", console];
    const options = [
      ...heartbeatMachine(
        { options: [...chardev, "-serial", "chardev:serial0"] },
        // Not all that the processors can do: what is tested starts programs all the time.
        { shared: "memfd", append: "memory=16 rate=100", ...machine },
      ),
      ...survivingSocket("monitor", monitor),
      ...["-mon", "chardev=monitor,mode=control"],
      ...more,
    ];
    const vm = await VirtualMachine.start("molt", [...options, "-S"], { directory, name: "0" });
    const parts = { directory, options, logFile, vm };
    try {
      const client = stack.use(await QmpTranscript.connect(monitor));
      const user = console === undefined ? await ConsoleClient.connect(path) : undefined;
      stack.use(user);
      if (user !== undefined) await client.request("cont");
      // What is typed before the guest has set up its UART is lost.
      await user?.follow(1);
      return new SurvivingMachine({ ...parts, client, user }, stack.move());
    } catch (error) {
      await vm[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** At the console. */
  get user(): ConsoleClient {
    if (this.#user === undefined) throw new Error("nobody is at the console");
    return this.#user;
  }

  /** The command that a successor in the same process is executed with. */
  get command(): string[] {
    return this.vm.command.filter((argument) => argument !== "-S");
  }

  /** Has the process execute `command`. With `state` the guest waits in that file, otherwise elsewhere. */
  async updateByExec(command: readonly string[] = this.command, state?: string): Promise<void> {
    const incoming = state === undefined ? [] : ["-incoming", `file:${state}`];
    await this.client.request("migrate-set-parameters", {
      "mode": "cpr-exec",
      "cpr-exec-command": [...command, ...incoming],
    });
    await this.client.request("migrate", state === undefined ? {} : { uri: `file:${state}` });
  }

  /** Hands the guest to another process, which is `vm` then. */
  async updateByTransfer(): Promise<void> {
    const name = `${++this.#transfers}`;
    const channels = (["main", "cpr"] as const).map((type): MigrationChannel => ({
      "channel-type": type,
      "addr": { transport: "socket", type: "unix", path: this.directory.file(`${name}.${type}`) },
    }));
    const incoming = channels.flatMap((channel) => ["-incoming", JSON.stringify(channel)]);
    const { directory, options, client } = this;
    const next = await VirtualMachine.start("molt", [...options, ...incoming], { directory, name });
    await using _source = this.vm;
    this.vm = next;
    await awaitListening(directory.file(`${name}.cpr`), next.pid, patience());
    await client.request("migrate-set-parameters", { mode: "cpr-transfer" });
    const before = client.count("x-MONITOR_REPLACED");
    await client.request("migrate", { channels });
    await client.awaitEvents("x-MONITOR_REPLACED", before + 1);
  }

  /** A script has started the process that has the guest now. */
  follow(pid: number | undefined): void {
    if (pid === undefined) throw new Error("the script does not say who has the guest");
    this.#stack.use(new DetachedProcess(pid));
  }

  /** Once is enough, more is no harm. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]();
    await this.vm[Symbol.asyncDispose]();
  }
}

/** Requests that are under way all the time. */
export class SteadyRequests {
  readonly #client: QmpTranscript;
  readonly #running: Promise<PromiseSettledResult<void>[]>;
  #stopped = false;

  /** Keeps `count` requests under way. */
  constructor(client: QmpTranscript, count: number) {
    this.#client = client;
    this.#running = Promise.allSettled(Array.from({ length: count }, () => this.#run()));
  }

  /** Waits for the replies to those that are under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const result of await this.#running) {
      if (result.status === "rejected") throw result.reason;
    }
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      await this.#client.request("query-status");
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}
