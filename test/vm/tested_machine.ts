/**
 * A machine as QEMU's test library starts it: the library listens on two sockets, the program
 * connects to them, one for the test protocol and one for QMP, and ends at SIGTERM with status 0.
 */
import { assertEquals } from "@std/assert";
import { TextLineStream } from "@std/streams";
import { PATIENCE, patience } from "../support/patience.ts";
import { commandOf } from "../support/programs.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";

/** A QMP event. */
export interface TestedEvent {
  readonly event: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

/** What a command returned, or why it failed. */
export type Reply =
  | { readonly return: unknown }
  | { readonly error: { readonly class: string; readonly desc: string } };

/** One accepted connection that carries lines. */
class LineConnection implements Disposable {
  readonly #connection: Deno.Conn;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;

  constructor(connection: Deno.Conn) {
    this.#connection = connection;
    this.#lines = connection.readable.pipeThrough(new TextDecoderStream())
      .pipeThrough<string>(new TextLineStream()).getReader();
    this.#writer = connection.writable.getWriter();
  }

  async send(line: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(`${line}\n`));
  }

  /** The next line, `undefined` at the end. Fails when none comes for long. */
  async receive(): Promise<string | undefined> {
    const silence = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => silence.reject(new Error("the program says nothing any more")),
      PATIENCE,
    );
    try {
      return (await Promise.race([this.#lines.read(), silence.promise])).value;
    } finally {
      clearTimeout(timer);
    }
  }

  [Symbol.dispose](): void {
    this.#lines.cancel().catch(() => {});
    this.#writer.abort().catch(() => {});
    try {
      this.#connection.close();
    } catch {
      // The program has closed it.
    }
  }
}

/** How to start a machine. */
export interface TestedOptions {
  /** The QMP connection comes later, by {@linkcode TestedMachine.connectMonitor}. */
  readonly deferMonitor?: boolean;
  readonly outOfBand?: boolean;
  /** What the process ends with; it is checked. */
  readonly expectedStatus?: number;
}

/** The running program and its two connections. */
export class TestedMachine implements AsyncDisposable {
  expectedStatus: number;
  /** Events that nobody has waited for yet. */
  readonly events: TestedEvent[] = [];
  readonly #process: Deno.ChildProcess;
  readonly #qtest: LineConnection;
  readonly #listener: Deno.Listener;
  readonly #directory: TemporaryDirectory;
  readonly #errors: Promise<void>;
  #qmp: LineConnection | undefined;
  #errorText = "";
  #ended = false;

  private constructor(
    process: Deno.ChildProcess,
    qtest: LineConnection,
    listener: Deno.Listener,
    directory: TemporaryDirectory,
    expectedStatus: number,
  ) {
    this.#process = process;
    this.#qtest = qtest;
    this.#listener = listener;
    this.#directory = directory;
    this.expectedStatus = expectedStatus;
    this.#errors = this.#collectErrors();
  }

  /** Starts the program with `args` among the library's own options. */
  static async start(
    args: readonly string[],
    { deferMonitor = false, outOfBand = false, expectedStatus = 0 }: TestedOptions = {},
  ): Promise<TestedMachine> {
    const directory = new TemporaryDirectory();
    const paths = { qtest: directory.file("qtest.sock"), qmp: directory.file("qtest.qmp") };
    using qtest = Deno.listen({ transport: "unix", path: paths.qtest });
    const qmp = Deno.listen({ transport: "unix", path: paths.qmp });
    const [program = "", ...leading] = commandOf("molt");
    const process = new Deno.Command(program, {
      args: [
        ...leading,
        ...["-qtest", `unix:${paths.qtest}`, "-qtest-log", "/dev/null"],
        ...["-chardev", `socket,path=${paths.qmp},id=char0`],
        ...["-object", "monitor-qmp,id=qmp0,chardev=char0"],
        ...["-display", "none", "-audio", "none", "-run-with", "exit-with-parent=on"],
        ...args,
        ...["-accel", "qtest"],
      ],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const connection = await acceptFrom(qtest, process);
    const machine = new TestedMachine(
      process,
      new LineConnection(connection),
      qmp,
      directory,
      expectedStatus,
    );
    try {
      assertEquals(await machine.qtest("endianness"), "OK little");
      if (!deferMonitor) await machine.connectMonitor(outOfBand);
      return machine;
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** What it has written to its standard error so far. */
  get errorText(): string {
    return this.#errorText;
  }

  /** Takes the program's QMP connection and negotiates. */
  async connectMonitor(outOfBand = false): Promise<void> {
    this.#qmp = new LineConnection(await this.#listener.accept());
    const greeting = JSON.parse(await this.#qmp.receive() ?? "{}");
    assertEquals(greeting.QMP?.capabilities, ["oob"]);
    await this.execute("qmp_capabilities", outOfBand ? { enable: ["oob"] } : undefined);
  }

  /** Sends a command of the test protocol and returns the answer. */
  async qtest(command: string): Promise<string> {
    await this.#qtest.send(command);
    const answer = await this.#qtest.receive();
    if (answer === undefined) throw new Error(`no answer to '${command}': ${this.errorText}`);
    return answer;
  }

  /** Reads a number of 1 (readb) to 8 (readq) bytes. */
  async readNumber(command: "readb" | "readw" | "readl" | "readq", address: number) {
    const [status, value] = (await this.qtest(`${command} 0x${address.toString(16)}`)).split(" ");
    assertEquals(status, "OK");
    return BigInt(value ?? "");
  }

  /** Sends a QMP command and returns its reply; events before it are kept. */
  async command(name: string, given?: Readonly<Record<string, unknown>>): Promise<Reply> {
    await this.#monitor.send(
      JSON.stringify({ execute: name, ...(given === undefined ? {} : { arguments: given }) }),
    );
    for (;;) {
      const message = await this.#receive();
      if ("event" in message) this.events.push(message);
      else return message;
    }
  }

  /** The same, and the command must succeed. */
  // deno-lint-ignore no-explicit-any
  async execute(name: string, given?: Readonly<Record<string, unknown>>): Promise<any> {
    const reply = await this.command(name, given);
    if ("return" in reply) return reply.return;
    throw new Error(`${name}: ${reply.error.desc}`);
  }

  /** Waits for an event, perhaps one of the past. Those before it are forgotten. */
  async event(name: string, accept = (_: TestedEvent) => true): Promise<TestedEvent> {
    for (;;) {
      const known = this.events.shift() ?? await this.#receiveEvent();
      if (known.event === name && accept(known)) return known;
    }
  }

  /** Whether the event has come since it was last waited for. Looks at what has arrived only. */
  hasSeen(name: string): boolean {
    return this.events.some(({ event }) => event === name);
  }

  /** Ends it as the library does, and checks its status. */
  async quit(): Promise<void> {
    const status = await this.#end();
    assertEquals(status.code, this.expectedStatus, this.errorText);
  }

  /** Ends it. How it ended matters no more. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
  }

  async #end(): Promise<Deno.CommandStatus> {
    if (this.#ended) return await this.#process.status;
    this.#ended = true;
    const signal = patience();
    const kill = () => this.#process.kill("SIGKILL");
    signal.addEventListener("abort", kill);
    try {
      this.#process.kill("SIGTERM");
    } catch {
      // It has ended already.
    }
    const status = await this.#process.status;
    signal.removeEventListener("abort", kill);
    await this.#errors;
    this.#qtest[Symbol.dispose]();
    this.#qmp?.[Symbol.dispose]();
    this.#listener.close();
    this.#directory[Symbol.dispose]();
    return status;
  }

  get #monitor(): LineConnection {
    if (this.#qmp === undefined) throw new Error("the monitor is not connected");
    return this.#qmp;
  }

  async #receive(): Promise<TestedEvent | Reply> {
    const line = await this.#monitor.receive();
    if (line === undefined) throw new Error(`the monitor is gone: ${this.errorText}`);
    return JSON.parse(line);
  }

  async #receiveEvent(): Promise<TestedEvent> {
    const message = await this.#receive();
    if ("event" in message) return message;
    throw new Error(`a reply that nobody asked for: ${JSON.stringify(message)}`);
  }

  async #collectErrors(): Promise<void> {
    const text = this.#process.stderr.pipeThrough(new TextDecoderStream());
    for await (const piece of text) this.#errorText += piece;
  }
}

/** The program's connection. Fails with what it wrote if it ends instead. */
async function acceptFrom(
  listener: Deno.Listener,
  process: Deno.ChildProcess,
): Promise<Deno.Conn> {
  const ended = process.status.then(({ code }) => code);
  const first = await Promise.race([listener.accept(), ended]);
  if (typeof first !== "number") return first;
  const errors = await new Response(process.stderr).text();
  throw new Error(`the program ended with status ${first}: ${errors}`);
}
