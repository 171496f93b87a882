/**
 * One guest's life: the process that has it, what is expected of it, and the means to act on it. Steps
 * (steps/) change the life and its expectations together; checks.ts compares the two.
 *
 *   start() -> step, verifyLife(), step, verifyLife() ... -> disposed: every process of it is ended
 */
import * as z from "zod";
import {
  type QmpArguments,
  QmpClient,
  type QmpCommandName,
  type QmpResult,
} from "../../src/qmp_client/mod.ts";
import { awaitListening } from "../../scripts/lib/listening.ts";
import { PATIENCE, patience } from "../support/patience.ts";
import { killIfThere, processesWith } from "../support/processes.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { canMount } from "./mounts.ts";
import type { Installation } from "./installation.ts";
import { Journal, quoted } from "./journal.ts";
import { type MachineNames, machineOptions } from "./machine_options.ts";
import { GuestOutput } from "./output.ts";
import type { Traits } from "./traits.ts";

/** Marks all processes of a life: successors, interim monitors and scripts inherit it. */
const MARK = "MOLT_TEST_LIFE";
const POLL_INTERVAL = 20;

/** A process that has the guest or is to get it. */
export interface Machine {
  readonly pid: number;
  /** Program and arguments, but for what is only meant for a first start: -daemonize, -incoming. */
  readonly command: readonly string[];
  readonly names: MachineNames;
}

const outcome = z.looseObject({
  ok: z.boolean(),
  error: z.string().optional(),
  status: z.string().optional(),
  pid: z.number().optional(),
});
/** What a script prints with --json. */
export type ScriptOutcome = Readonly<z.infer<typeof outcome>>;

/** How another machine is started beside the one with the guest. */
export interface NextOptions {
  /** Values of -incoming. */
  readonly incoming: readonly string[];
  /** RAM of its own: what is in a shared file would be the guest's. */
  readonly ownMemory?: boolean;
  /** Differs from the guest's machine: it cannot load the guest. */
  readonly misfit?: boolean;
  /** It gets the guest by cpr-transfer, and with it what survives. */
  readonly adopts?: boolean;
}

/** A connection to the guest's monitor that keeps a journal. */
export interface Monitor {
  readonly client: QmpClient;
  execute<N extends QmpCommandName>(name: N, given?: QmpArguments<N>): Promise<QmpResult<N>>;
}

/** A guest and what belongs to it. */
export class Life implements AsyncDisposable {
  readonly journal = new Journal();
  readonly output: GuestOutput;
  /** Whether the guest is expected to run; one that was reset while it was paused is in `prelaunch`. */
  state: "running" | "paused" | "prelaunch" = "running";
  /** The folder that the first process was started in is there. */
  startFolderThere = true;
  readonly #folder = new TemporaryDirectory();
  readonly #mark = crypto.randomUUID();
  readonly #logs: string[] = [];
  #current: Machine | undefined;
  /** Counts names: no two processes that are started here share one. */
  #count = 0;
  /** Which file has the guest's RAM, if one has. */
  #memory = 0;

  private constructor(
    readonly traits: Traits,
    readonly installation: Installation,
    /** The host lets tests mount file systems. */
    readonly mayMount: boolean,
  ) {
    for (const name of ["start", "run", "logs", "files"]) Deno.mkdirSync(this.path(name));
    if (traits.paths === "relative") Deno.symlinkSync("../run", this.path("start/run"));
    Deno.copyFileSync(installation.guest, this.path("start/heartbeat.elf"));
    Deno.copyFileSync(installation.guest, this.path("files/heartbeat.elf"));
    this.output = new GuestOutput(this.path("run/serial"));
    this.#own(this.#folder.path);
  }

  /** Starts a guest. */
  static async start(traits: Traits, installation: Installation): Promise<Life> {
    const life = new Life(traits, installation, await canMount());
    try {
      const names = life.#newNames();
      const command = life.#command(names, {});
      life.#current = await life.#launch(command, names, traits.daemonized);
      await life.output.beats(2);
      return life;
    } catch (cause) {
      const error = new Error(`no guest: ${life.describe()}`, { cause });
      await life[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The process that has the guest. */
  get machine(): Machine {
    if (this.#current === undefined) throw new Error("no process has the guest");
    return this.#current;
  }

  /** A path in the life's folder. */
  path(name: string): string {
    return this.#folder.file(name);
  }

  /** All processes of this life that have not ended. */
  get processes(): number[] {
    return processesWith(MARK, this.#mark);
  }

  /** The guest is in another process now, by default under the same names and with the same command. */
  follow(pid: number, machine: Partial<Machine> = {}): void {
    this.#current = { ...this.machine, ...machine, pid };
  }

  /** A guest whose RAM was sent has it in another file, if in one. */
  followMemory({ names }: Pick<Machine, "names">): void {
    this.#memory = names.number;
  }

  /** Uses a connection to the guest's monitor. A monitor has one client at a time. */
  async qmp<T>(
    action: (monitor: Monitor) => Promise<T>,
    machine: Machine = this.machine,
  ): Promise<T> {
    const client = await QmpClient.connect(machine.names.qmp, { wait: true, signal: patience() });
    try {
      return await action({
        client,
        execute: (name, ...given) => {
          this.journal.note(`QMP to ${machine.pid}: ${name} ${JSON.stringify(given[0] ?? {})}`);
          return client.execute(name, given[0] ?? {} as never, { signal: patience() });
        },
      });
    } finally {
      client[Symbol.dispose]();
    }
  }

  /** Runs a script, which has to end with the status `expected`. */
  async script(
    expected: number,
    name: string,
    ...args: readonly string[]
  ): Promise<ScriptOutcome> {
    const command = [...this.installation.script(name), "--json", ...args];
    const result = await this.run(command, 3 * PATIENCE);
    if (result.status !== expected) {
      throw new Error(`${name} ended with ${result.status}: ${result.output}${result.errors}`);
    }
    return outcome.parse(JSON.parse(result.output));
  }

  /** Runs a program of this life to its end. */
  async run(command: readonly string[], limit = PATIENCE) {
    this.journal.note(quoted(command));
    const [program = "", ...args] = [...this.installation.become, ...command];
    const { code, stdout, stderr } = await new Deno.Command(program, {
      args,
      env: this.#environment,
      cwd: this.#folder.path,
      stdin: "null",
      signal: patience(limit),
    }).output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    return { status: code, output: text(stdout), errors: text(stderr) };
  }

  /** A file that collects what a program started by a script prints. */
  log(): string {
    const path = this.path(`logs/${this.#logs.length}`);
    this.#logs.push(path);
    Deno.writeTextFileSync(path, "");
    this.#own(path);
    return path;
  }

  /** Starts a machine that waits for the guest, under names of its own. */
  async next(options: NextOptions): Promise<Machine> {
    const names = this.#newNames(options.adopts);
    const { incoming } = options;
    const command = this.#command(names, options);
    const waiting = [...command, ...incoming.flatMap((value) => ["-incoming", value])];
    return { ...await this.#launch(waiting, names, this.traits.daemonized), command };
  }

  /** The command that starts such a machine, and its names, for a script that does it. */
  nextCommand(options: Omit<NextOptions, "incoming"> = {}): Omit<Machine, "pid"> {
    const names = this.#newNames();
    return { command: this.#command(names, options), names };
  }

  /** Waits until a process listens at `path`. */
  async listening(path: string, { pid }: Machine): Promise<void> {
    await awaitListening(path, pid, patience());
  }

  /** Ends a machine that has no guest, and what is left of its names. */
  async end(machine: Machine): Promise<void> {
    killIfThere(machine.pid);
    this.journal.note(`kill -9 ${machine.pid}`);
    await this.gone(machine.pid);
    const { qmp, shell, console, pidFile } = machine.names;
    for (const path of [qmp, shell, console, pidFile]) {
      if (path !== this.machine.names.console) await Deno.remove(path).catch(() => {});
    }
  }

  /** Waits until a process has ended. */
  async gone(pid: number): Promise<void> {
    await this.until(() => !this.processes.includes(pid), `process ${pid} has ended`);
  }

  /** Waits until something is so. */
  async until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
    const signal = patience();
    while (!await condition()) {
      if (signal.aborted) throw new Error(`waited in vain until ${what}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL));
    }
  }

  /** What to know when it failed: steps, processes, what they printed. */
  describe(): string {
    try {
      this.output.verify();
    } catch {
      // It is reported by whoever meets it first.
    }
    const processes = this.processes.map((pid) => {
      const read = (name: string) => {
        try {
          return Deno.readTextFileSync(`/proc/${pid}/${name}`).replaceAll("\0", " ").trim();
        } catch (error) {
          return String(error);
        }
      };
      const state = read("status").match(/^State:.*$/m)?.[0];
      return `  ${pid}${pid === this.#current?.pid ? " (has the guest)" : ""} ${state} ${
        read("cmdline")
      }`;
    });
    const files = [...Deno.readDirSync(this.path("run"))].map(({ name }) => name).toSorted();
    const logs = this.#logs.map((path) => `${path}:\n${Deno.readTextFileSync(path).slice(-2000)}`);
    return [
      `steps:\n${this.journal}`,
      `processes:\n${processes.join("\n")}`,
      `files: ${files.join(" ")}`,
      ...logs,
      `the guest, expected ${this.state}, printed last:\n${this.output.tail.slice(-500)}`,
    ].join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const signal = patience();
    for (let left = this.processes; left.length > 0; left = this.processes) {
      for (const pid of left) killIfThere(pid);
      signal.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL));
    }
    this.output[Symbol.dispose]();
    this.#folder[Symbol.dispose]();
  }

  get #environment(): Record<string, string> {
    return { DENO_NO_UPDATE_CHECK: "1", ...this.installation.env, [MARK]: this.#mark };
  }

  /** Names for another process. A socket that survives goes over with its name. */
  #newNames(adopts = false): MachineNames {
    const number = this.#count++;
    const name = (kind: string) => this.path(`run/${kind}.${number}`);
    const kept = adopts && this.traits.keepsConsole ? this.machine.names.console : undefined;
    return {
      number,
      qmp: name("qmp"),
      shell: name("shell"),
      console: kept ?? name("console"),
      pidFile: name("pid"),
    };
  }

  #command(
    names: MachineNames,
    { ownMemory = false, misfit = false }: Omit<NextOptions, "incoming">,
  ): string[] {
    return [
      ...this.installation.molt,
      ...machineOptions(names, {
        traits: this.traits,
        folder: this.#folder.path,
        memory: ownMemory ? names.number : this.#memory,
        misfit,
      }),
    ];
  }

  async #launch(
    command: readonly string[],
    names: MachineNames,
    daemonized: boolean,
  ): Promise<Machine> {
    const log = this.log();
    const whole = daemonized ? [...command, "-daemonize"] : command;
    this.journal.note(`cd ${this.path("start")}; ${quoted(whole)}`);
    const redirect = 'log=$0; exec "$@" >>"$log" 2>&1';
    const [program = "", ...args] = [
      ...this.installation.become,
      ...["sh", "-c", redirect, log, ...whole],
    ];
    const child = new Deno.Command(program, {
      args,
      env: this.#environment,
      cwd: this.startFolderThere ? this.path("start") : this.#folder.path,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    if (daemonized) {
      const { code } = await child.status;
      if (code !== 0) {
        throw new Error(`-daemonize ended with ${code}: ${Deno.readTextFileSync(log)}`);
      }
      return { pid: Number(Deno.readTextFileSync(names.pidFile)), command, names };
    }
    // It may go on when the test has ended.
    child.unref();
    // Answers, or has ended, as whoever connects to it then learns.
    await this.until(
      () => exists(names.pidFile) || !this.processes.includes(child.pid),
      `process ${child.pid} has written its pid file`,
    );
    return { pid: child.pid, command, names };
  }

  #own(path: string): void {
    const { owner } = this.installation;
    if (owner === undefined) return;
    if (Deno.lstatSync(path).isDirectory) {
      for (const { name } of Deno.readDirSync(path)) this.#own(`${path}/${name}`);
    }
    if (!Deno.lstatSync(path).isSymlink) Deno.chownSync(path, owner, owner);
  }
}

function exists(path: string): boolean {
  try {
    return Deno.readTextFileSync(path) !== "";
  } catch {
    return false;
  }
}
