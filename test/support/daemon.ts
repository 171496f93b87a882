/** A machine with the guest heartbeat as a daemon, which scripts update over and over. */
import { assertEquals, assertFalse } from "@std/assert";
import { QmpClient } from "../../src/qmp_client/mod.ts";
import { DetachedProcess } from "./detached.ts";
import { HeartbeatLog } from "./heartbeat_log.ts";
import { heartbeatMachine, type HeartbeatMachineOptions } from "./heartbeat_machine.ts";
import { patience } from "./patience.ts";
import { processesWith } from "./processes.ts";
import { commandOf } from "./programs.ts";
import { TemporaryDirectory } from "./temporary_directory.ts";

/** An environment variable that says whose processes these are. */
const MARK = "MOLT_TEST_DAEMON";

/** The daemon, by its pid file, whatever process has the guest by then. */
export class Daemon implements AsyncDisposable {
  readonly directory: TemporaryDirectory;
  readonly log: HeartbeatLog;
  readonly #mark: string;
  readonly #found: DetachedProcess[] = [];

  private constructor(directory: TemporaryDirectory, log: HeartbeatLog, mark: string) {
    this.directory = directory;
    this.log = log;
    this.#mark = mark;
  }

  /** Starts it in a folder of its own, with the paths of its socket and its pid file as given. */
  static async start(
    paths: "absolute" | "relative",
    { more = [], shared = "memfd" }: {
      readonly more?: readonly string[];
      readonly shared?: NonNullable<HeartbeatMachineOptions["shared"]>;
    } = {},
  ): Promise<Daemon> {
    await using undo = new AsyncDisposableStack();
    const directory = new TemporaryDirectory();
    Deno.mkdirSync(directory.file("run"));
    const log = new HeartbeatLog(directory.file("serial"));
    const daemon = undo.use(new Daemon(directory, log, crypto.randomUUID()));
    const folder = paths === "relative" ? "run" : directory.file("run");
    await daemon.#run([
      ...commandOf("molt"),
      ...heartbeatMachine(log, { shared, cpus: 1, append: "memory=1 rate=100" }),
      ...["-qmp", `unix:${folder}/qmp,server=on,wait=off`, "-pidfile", `${folder}/pid`],
      ...["-daemonize", ...more],
    ]);
    await log.beats(2);
    undo.move();
    return daemon;
  }

  /** Starts another daemon in the same folder, which writes `pidFile` there. Returns its process id. */
  async startAnother(command: readonly string[], pidFile: string): Promise<number> {
    await this.#run(command);
    const pid = Number(Deno.readTextFileSync(this.directory.file(pidFile)));
    this.follow(pid);
    return pid;
  }

  /** Runs what starts a daemon, to its end. */
  async #run([program = "", ...args]: readonly string[]): Promise<void> {
    const { code, stderr } = await new Deno.Command(program, {
      args,
      cwd: this.directory.path,
      env: { DENO_NO_UPDATE_CHECK: "1", [MARK]: this.#mark },
      stdin: "null",
      stdout: "null",
      signal: patience(),
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
  }

  get socket(): string {
    return this.directory.file("run/qmp");
  }

  /** The process that its file names. */
  get pid(): number {
    return Number(Deno.readTextFileSync(this.directory.file("run/pid")));
  }

  /** A process that has or had the guest. */
  follow(pid: number): DetachedProcess {
    const process = new DetachedProcess(pid);
    this.#found.push(process);
    return process;
  }

  async connect(): Promise<QmpClient> {
    return await QmpClient.connect(this.socket, { wait: true, signal: patience() });
  }

  /**
   * Checks that one process has the guest: the one that the pid file names, which answers at the socket; that
   * nothing else is where its files are; and that ps does not show where the guest has come from.
   */
  async check(): Promise<void> {
    const { pid } = this;
    assertEquals(this.follow(pid).alive, true, `process ${pid}`);
    const files = [...Deno.readDirSync(this.directory.file("run"))].map(({ name }) => name);
    assertEquals(files.toSorted(), ["pid", "qmp"]);
    await using qmp = await this.connect();
    assertEquals((await qmp.execute("query-status")).status, "running");
    const { pid: answering, launch } = await qmp.execute("x-query-update");
    assertEquals(answering, pid);
    assertEquals(launch?.directory, this.directory.path);
    const shown = Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0");
    for (const word of [...launch?.command ?? [], ...shown]) {
      assertFalse(/incoming|\.next|\.safe/.test(word), `${word}, shown or reported`);
    }
    await this.log.beats(3);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pid of processesWith(MARK, this.#mark)) this.follow(pid);
    for (const process of this.#found) await process[Symbol.asyncDispose]();
    this.log[Symbol.dispose]();
    this.directory[Symbol.dispose]();
  }
}
