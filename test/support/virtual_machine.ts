/** Machines in processes of their own, driven over QMP as a user would. */
import { QmpClient } from "../../src/qmp_client/mod.ts";
import { patience } from "./patience.ts";
import { killIfThere, processesWith } from "./processes.ts";
import { commandOf, type Vmm } from "./programs.ts";
import type { TemporaryDirectory } from "./temporary_directory.ts";

/** How to start a machine. */
export interface StartOptions {
  /** Where its socket and its output are. */
  readonly directory: TemporaryDirectory;
  /** Distinguishes machines that share a directory. */
  readonly name?: string;
  /** Whether to connect to its monitor; otherwise `connect` does. */
  readonly connect?: boolean;
  /** What starts the program, such as a shell that gives it descriptors; it becomes the program. */
  readonly launcher?: readonly string[];
  readonly env?: Record<string, string>;
}

/** An environment variable that says whose processes these are: successors and interim monitors inherit it. */
const MARK = "MOLT_TEST_MACHINE";

/**
 * A process that runs a machine, and a QMP connection to it. Ends with the scope that it belongs to, and
 * so do all processes that came from it, such as an interim monitor that would have its guest live on.
 * A cpr-exec replaces the program, not the process: connect again after it.
 */
export class VirtualMachine implements AsyncDisposable {
  /** Program and all arguments: what a successor is started with. */
  readonly command: readonly string[];
  readonly pid: number;
  readonly exited: Promise<Deno.CommandStatus>;
  readonly socket: string;
  readonly #errors: Promise<void>;
  readonly #process: Deno.ChildProcess;
  readonly #mark = crypto.randomUUID();
  #errorText = "";
  #client: QmpClient | undefined;
  #ended = false;

  private constructor(
    command: readonly string[],
    socket: string,
    env: Record<string, string>,
  ) {
    this.command = command;
    this.socket = socket;
    const [program = "", ...args] = command;
    this.#process = new Deno.Command(program, {
      args,
      // `deno run` looks for a newer one of itself, with a socket that comes and goes.
      env: { DENO_NO_UPDATE_CHECK: "1", ...env, [MARK]: this.#mark },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.pid = this.#process.pid;
    this.exited = this.#process.status.then((status) => {
      this.#ended = true;
      return status;
    });
    this.#errors = this.#collect();
  }

  /** Starts a machine with a QMP monitor on a socket of its own, besides `args`. */
  static async start(
    vmm: Vmm,
    args: readonly string[],
    { directory, name = vmm, connect = true, launcher = [], env = {} }: StartOptions,
  ): Promise<VirtualMachine> {
    const socket = directory.file(`${name}.qmp`);
    const qmp = ["-qmp", `unix:${socket},server=on,wait=off`];
    const vm = new VirtualMachine([...launcher, ...commandOf(vmm), ...args, ...qmp], socket, env);
    try {
      if (connect) await vm.connect();
      return vm;
    } catch (error) {
      await vm[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The connection to its monitor. */
  get qmp(): QmpClient {
    if (this.#client === undefined) throw new Error(`not connected to ${this.socket}`);
    return this.#client;
  }

  /** What it has written to its standard error so far. */
  get errorText(): string {
    return this.#errorText;
  }

  /** Whether the process has not ended. */
  get alive(): boolean {
    return !this.#ended;
  }

  /** Connects to its monitor, again if need be. Fails as soon as the process has ended. */
  async connect(): Promise<QmpClient> {
    this.#client?.[Symbol.dispose]();
    const gone = new AbortController();
    const signal = AbortSignal.any([gone.signal, patience()]);
    const exit = this.exited.then(() => gone.abort());
    try {
      this.#client = await QmpClient.connect(this.socket, { wait: true, signal });
      return this.#client;
    } catch (cause) {
      if (gone.signal.aborted) await Promise.all([exit, this.#errors]);
      throw new Error(`no monitor: ${this.describe()}`, { cause });
    }
  }

  /** The process and all that came from it and have not ended, such as an interim monitor. */
  get processes(): number[] {
    return processesWith(MARK, this.#mark);
  }

  /** What to know of it when a test fails. */
  describe(): string {
    const state = this.#ended ? "ended" : "alive";
    return `${this.command.join(" ")}\n(process ${this.pid}, ${state}) wrote:\n${this.#errorText}`;
  }

  /** Ends the process, and waits for that. */
  async kill(signal: Deno.Signal = "SIGKILL"): Promise<Deno.CommandStatus> {
    if (!this.#ended) killIfThere(this.pid, signal);
    await this.#errors;
    return await this.exited;
  }

  /** Asks it to end, and waits for that. */
  async quit(): Promise<Deno.CommandStatus> {
    // The reply may or may not come before the end.
    await this.qmp.execute("quit").catch(() => {});
    await this.#errors;
    return await this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client?.[Symbol.asyncDispose]();
    for (;;) {
      const { processes } = this;
      if (processes.length === 0) break;
      for (const pid of processes) killIfThere(pid);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await this.kill();
  }

  async #collect(): Promise<void> {
    const text = this.#process.stderr.pipeThrough(new TextDecoderStream());
    for await (const piece of text) this.#errorText += piece;
  }
}
