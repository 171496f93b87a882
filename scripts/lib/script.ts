/**
 * What all scripted migrations share: help, dry runs, JSON, a progress line, and exit statuses.
 *
 * A script changes things through `change`, `start` and `act`, and waits through `wait`. With --dry-run
 * these print and do nothing; looking goes on for real, so that what is printed fits the machine.
 */
import {
  formatQmpAddress,
  parseQmpAddress,
  type QmpArguments,
  QmpClient,
  type QmpCommandName,
  QmpConnectError,
} from "../../src/qmp_client/mod.ts";
import {
  describeOptions,
  hasFlag,
  type OptionShape,
  type OptionsOf,
  type Parsed,
  parseOptions,
  UsageError,
} from "./options.ts";
import { ExitStatus, ScriptError } from "./exit_status.ts";
import { DetachedProgram, ProcessGoneError } from "./processes.ts";
import { explainRefusal } from "./users.ts";

export { ExitStatus, ScriptError };

const exitStatusHelp = `Exit status:
  0    done
  1    it did not work; the guest is where it was, and goes on if it did before
  2    the options make no sense
  3    no machine answers at the address, or it is in no state to begin with: nothing was changed
  4    nobody knows where the guest is: look before you do anything else
  130  interrupted; the guest is where it was, and goes on if it did before

Ctrl-C undoes what was done so far, unless the guest has moved already. Ctrl-C again, a second later, ends
the script at once with 4.`;

/** What a script is. */
export interface Declaration<S extends OptionShape> {
  /** The task's name and what follows it: `update:exec [OPTION ...]`. */
  readonly usage: string;
  /** What it does. */
  readonly about: string;
  readonly options: S;
  /** Words of which one may come first. */
  readonly actions?: readonly string[];
}

type Step =
  | { readonly monitor: string; readonly execute: string; readonly arguments: unknown }
  | { readonly start: readonly string[] }
  | { readonly other: string };

/** What the body of a script works with. */
export class Script<S extends OptionShape> {
  readonly options: OptionsOf<S>;
  /** Which of the declared actions was typed. */
  readonly action: string | undefined;
  /** The command line after `--`, and the directory that it was typed in. */
  readonly command: { readonly command: readonly string[]; readonly directory: string } | undefined;
  readonly dryRun: boolean;
  /** Aborted by Ctrl-C: what is done before the guest has moved heeds it. */
  readonly signal: AbortSignal;
  readonly #json: boolean;
  readonly #steps: Step[] = [];
  readonly #results: Record<string, unknown> = {};
  #showsProgress = false;

  constructor(parsed: Parsed<S>, actions: readonly string[], signal: AbortSignal) {
    const [action, ...more] = parsed.words;
    if (action !== undefined && !actions.includes(action)) {
      const known = actions.length === 0 ? "" : `: say ${actions.join(" or ")}`;
      throw new UsageError(`unexpected: ${action}${known}`);
    }
    if (more.length > 0) throw new UsageError(`unexpected: ${more.join(" ")}`);
    this.options = parsed.options;
    this.action = action;
    this.command = parsed.command && { command: parsed.command, directory: Deno.cwd() };
    this.dryRun = parsed.dryRun;
    this.#json = parsed.json;
    this.signal = signal;
  }

  /** Notifies a person what happens. */
  say(text: string): void {
    this.#clearProgress();
    if (!this.#json) console.log(text);
  }

  /** Adds to what the JSON object reports. */
  report(results: Readonly<Record<string, unknown>>): void {
    Object.assign(this.#results, results);
  }

  /** Replaces the last line of a terminal. */
  progress(text: string): void {
    if (this.#json || !Deno.stderr.isTerminal()) return;
    this.#clearProgress();
    // A terminal that does not report its width says 0.
    const { columns } = Deno.consoleSize();
    print(columns > 0 ? text.slice(0, columns - 1) : text);
    this.#showsProgress = true;
  }

  /** Connects to a machine's monitor; with a time limit in milliseconds, waits until it is there. */
  async connect(address: string, limit?: number): Promise<QmpClient> {
    const timeout = AbortSignal.timeout(limit ?? 10_000);
    const signal = AbortSignal.any([this.signal, timeout]);
    try {
      return await QmpClient.connect(address, { signal, wait: limit !== undefined });
    } catch (error) {
      throw explainRefusal(error, parseQmpAddress(address));
    }
  }

  /**
   * Executes a command that changes something. A machine that a dry run has not started is given by
   * its address.
   */
  async change<N extends QmpCommandName>(
    machine: QmpClient | string,
    command: N,
    given: QmpArguments<N>,
  ): Promise<void> {
    const monitor = typeof machine === "string" ? machine : formatQmpAddress(machine.address);
    this.#step({ monitor, execute: command, arguments: given });
    if (this.dryRun) return;
    if (typeof machine === "string") throw new Error(`${machine} was not started`);
    await machine.executeUntyped(command, given, { signal: AbortSignal.timeout(30_000) });
  }

  /** Starts a program that goes on when the script has ended. */
  start(
    command: readonly string[],
    options: { readonly directory: string; readonly log: string },
  ): DetachedProgram | undefined {
    this.#step({ start: command });
    return this.dryRun ? undefined : new DetachedProgram(command, options);
  }

  /** Changes something that `text` describes. */
  async act(text: string, action: () => void | Promise<void>): Promise<void> {
    this.#step({ other: text });
    if (!this.dryRun) await action();
  }

  /** Waits for what `text` describes; a dry run does not. */
  async wait<T>(text: string, action: () => Promise<T>): Promise<T | undefined> {
    this.#step({ other: `wait until ${text}` });
    return this.dryRun ? undefined : await action();
  }

  /** Ends the output. */
  finish(outcome: Readonly<Record<string, unknown>>): void {
    this.#clearProgress();
    const steps = this.dryRun ? { steps: this.#steps } : {};
    if (this.#json) printJson({ ...outcome, ...this.#results, ...steps });
  }

  #step(step: Step): void {
    this.#steps.push(step);
    if (!this.dryRun) return;
    if ("execute" in step) {
      this.say(`${step.monitor}: ${step.execute} ${JSON.stringify(step.arguments)}`);
    } else {
      this.say("start" in step ? `start ${step.start.map(quote).join(" ")}` : step.other);
    }
  }

  #clearProgress(): void {
    if (this.#showsProgress) print("\r\x1b[K");
    this.#showsProgress = false;
  }
}

/** Runs a script with this process's arguments and ends the process. */
export async function runScript<S extends OptionShape>(
  declaration: Declaration<S>,
  body: (script: Script<S>) => Promise<void>,
): Promise<never> {
  const status = await execute(declaration, body, Deno.args);
  Deno.exit(status);
}

async function execute<S extends OptionShape>(
  declaration: Declaration<S>,
  body: (script: Script<S>) => Promise<void>,
  argv: readonly string[],
): Promise<ExitStatus> {
  if (hasFlag(argv, "help")) {
    console.log(helpText(declaration));
    return ExitStatus.done;
  }
  // `deno task` goes to the project's directory; what was typed is meant in another.
  const typedIn = Deno.env.get("INIT_CWD");
  if (typedIn !== undefined) Deno.chdir(typedIn);
  const interrupted = new AbortController();
  let script: Script<S> | undefined;
  try {
    const parsed = parseOptions(argv, declaration.options);
    script = new Script(parsed, declaration.actions ?? [], interrupted.signal);
    heedSignals(interrupted);
    await body(script);
    script.finish({ ok: true, exitStatus: ExitStatus.done });
    return ExitStatus.done;
  } catch (error) {
    const status = statusOf(error, interrupted.signal);
    const message = status === ExitStatus.interrupted ? "interrupted" : messageOf(error);
    const json = hasFlag(argv, "json");
    const outcome = { ok: false, error: message, exitStatus: status };
    if (script) script.finish(outcome);
    else if (json) printJson(outcome);
    if (!json) console.error(`${declaration.usage.split(" ", 1)[0]}: ${message}`);
    if (!json && status === ExitStatus.usage) console.error("--help lists the options.");
    return status;
  }
}

/** Ctrl-C, a closed terminal and a plain kill all mean: undo. */
function heedSignals(interrupted: AbortController): void {
  let first = Infinity;
  const heed = () => {
    // `deno task` may pass on what the terminal has sent already.
    if (performance.now() - first > 1000) Deno.exit(ExitStatus.lost);
    first = Math.min(first, performance.now());
    interrupted.abort(new ScriptError(ExitStatus.interrupted, "interrupted"));
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, heed);
  }
}

function statusOf(error: unknown, interrupted: AbortSignal): ExitStatus {
  if (error instanceof ScriptError) return error.status;
  if (error instanceof UsageError) return ExitStatus.usage;
  if (error instanceof ProcessGoneError) return ExitStatus.lost;
  // Undoing went wrong as well.
  if (error instanceof SuppressedError) return ExitStatus.lost;
  if (interrupted.aborted) return ExitStatus.interrupted;
  if (error instanceof QmpConnectError) return ExitStatus.unavailable;
  return ExitStatus.failed;
}

/** An error's text, with what went wrong while undoing. */
export function messageOf(error: unknown): string {
  if (error instanceof SuppressedError) {
    return `${messageOf(error.suppressed)}\nand then: ${messageOf(error.error)}`;
  }
  return error instanceof Error ? error.message : String(error);
}

function helpText({ usage, about, options }: Declaration<OptionShape>): string {
  return `Usage: deno task ${usage}

${about.trim()}

Options:
${describeOptions(options)}

${exitStatusHelp}`;
}

function print(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}

function printJson(value: unknown): void {
  console.log(JSON.stringify(value, undefined, 2));
}

/** A word as a shell takes it. */
function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
