/** A shell that a document's blocks are typed into, one after the other. */
import { TextLineStream } from "@std/streams";
import { until } from "../support/patience.ts";
import { killIfThere, processesWith } from "../support/processes.ts";

/** An environment variable by which what a block has left running is found. */
const MARK = "MOLT_TEST_DOCUMENT";

/** What a bash without a terminal says of a job that a signal has ended: `FILE: line 1:  4505 Killed  COMMAND`. */
const jobNotice = /^\S+\/block-\d+: line \d+: +\d+ \w+ .*\n/gm;

/** How a block ended, and what it printed on both of its outputs. */
export interface ShellResult {
  readonly status: number;
  readonly output: string;
}

/** A block that runs while others do. */
export interface Job {
  /** The shell's variable with its process id. */
  readonly variable: string;
  readonly output: string;
}

/**
 * A bash without a terminal. Each block is a file that it reads, so that variables, functions and jobs live
 * on. Ends with everything that was started in it.
 */
export class ShellSession implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #files: string;
  readonly #mark = crypto.randomUUID();
  #count = 0;

  /** `directory`: where it begins; `files`: where blocks and their output are kept. */
  constructor(directory: string, files: string, env: Readonly<Record<string, string>>) {
    this.#files = files;
    // `deno task` has set INIT_CWD for the test, and keeps one that is set.
    this.#process = new Deno.Command("env", {
      args: ["-u", "INIT_CWD", "bash", "--noprofile", "--norc"],
      cwd: directory,
      env: { ...env, [MARK]: this.#mark },
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#writer = this.#process.stdin.getWriter();
    this.#lines = this.#process.stdout.pipeThrough(new TextDecoderStream())
      .pipeThrough<string>(new TextLineStream()).getReader();
  }

  /** Process ids of what was started in it and has not ended. */
  get running(): number[] {
    return processesWith(MARK, this.#mark).filter((pid) => pid !== this.#process.pid);
  }

  /** Runs commands until one fails, which ends the shell. */
  async run(text: string, limit: number): Promise<ShellResult> {
    const { script, output } = this.#file(text);
    return await this.#execute(`set -e; . '${script}' >'${output}' 2>&1 </dev/null`, output, limit);
  }

  /** Runs one command, which may fail; `$?` in it is the status of the one before. */
  async runOne(text: string, limit: number): Promise<ShellResult> {
    const { script, output } = this.#file(text);
    const line = `set +e; (exit $status); . '${script}' >'${output}' 2>&1 </dev/null`;
    return await this.#execute(line, output, limit);
  }

  /** Starts commands that run while others do, and waits until they have printed something. */
  async start(text: string): Promise<Job> {
    const { script, output } = this.#file(text);
    const variable = `job_${this.#count}`;
    const line = `. '${script}' >'${output}' 2>'${output}.errors' </dev/null & ${variable}=$!`;
    await this.#execute(line, output, 0);
    await until(`output of: ${text}`, () => sizeOf(output) > 0);
    return { variable, output };
  }

  /** Waits for a job's end. */
  async finish({ variable, output }: Job, limit: number): Promise<ShellResult> {
    const result = await this.#execute(`set +e; wait $${variable}`, output, limit);
    return { ...result, output: result.output + Deno.readTextFileSync(`${output}.errors`) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close().catch(() => {});
    this.running.forEach((pid) => killIfThere(pid));
    killIfThere(this.#process.pid);
    await this.#process.status;
    await this.#lines.cancel();
  }

  #file(text: string): { readonly script: string; readonly output: string } {
    const script = `${this.#files}/block-${++this.#count}`;
    Deno.writeTextFileSync(script, text);
    return { script, output: `${script}.output` };
  }

  async #execute(line: string, output: string, limit: number): Promise<ShellResult> {
    const text = `${line}\nstatus=$?; echo "ended $status"\n`;
    await this.#writer.write(new TextEncoder().encode(text));
    const timer = limit > 0 ? setTimeout(() => this.#process.kill("SIGKILL"), limit) : undefined;
    const { value } = await this.#lines.read();
    clearTimeout(timer);
    const printed = (await Deno.readTextFile(output).catch(() => "")).replaceAll(jobNotice, "");
    const status = value === undefined
      ? (await this.#process.status).code
      : Number(value.replace("ended ", ""));
    return { status, output: printed };
  }
}

/** The size of a file; 0 while nobody has made it. */
function sizeOf(path: string): number {
  try {
    return Deno.statSync(path).size;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return 0;
  }
}
