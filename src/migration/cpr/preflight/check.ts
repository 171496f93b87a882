/** The preflight as the guest's monitor makes it (protocol.ts). */
import { StreamChannel } from "../../../channel/stream.ts";
import { ChannelDescriptor } from "../../../native/channel.ts";
import type { Descriptor, Fd } from "../../../native/descriptor.ts";
import { openFile, OpenFlags } from "../../../native/file.ts";
import {
  awaitChild,
  childStatus,
  describeExit,
  environment,
  type ExitStatus,
  kill,
  spawn,
} from "../../../native/process.ts";
import { endSending, socketPair } from "../../../native/socket.ts";
import { createErrorFile, printedTo } from "../../../process/captured_errors.ts";
import { launch } from "../../../process/launch.ts";
import { checkStart } from "../../../process/start_check.ts";
import { messageOf, MigrationError } from "../../errors.ts";
import { within } from "../../limits.ts";
import type { MigratableMachine } from "../../source.ts";
import type { KeptDescriptor } from "../descriptors.ts";
import { endOf } from "../interim/protocol.ts";
import { lookAtSuccessor } from "../interim/successor_program.ts";
import { handOverOn } from "../transfer.ts";
import { type Answer, answer, ANSWER_LIMIT, SOCKETS_VARIABLE } from "./protocol.ts";

const SIGKILL = 9;

/** Whether a program would take the guest. */
export type PreflightResult =
  | { readonly result: "yes"; readonly program: string }
  | { readonly result: "no"; readonly program?: string; readonly reason: string }
  /** It cannot be asked without being started for good. */
  | { readonly result: "unknown"; readonly reason: string };

/** What is asked, and for which guest. */
export interface Preflight {
  /** The successor's program and arguments. */
  readonly command: readonly string[];
  readonly source: MigratableMachine;
  /** What a successor gets. */
  readonly kept: readonly KeptDescriptor[];
  /** How long all of it may take. */
  readonly milliseconds: number;
  /** The guest's devices as they are, as a stream. */
  readonly copyState: (source: MigratableMachine) => Promise<Uint8Array<ArrayBuffer>>;
}

/** Asks. Throws nothing that is the successor's fault. */
export async function checkSuccessor(preflight: Preflight): Promise<PreflightResult> {
  const { command, milliseconds } = preflight;
  try {
    checkStart();
    const { kind, file } = await lookAtSuccessor(command);
    const name = `'${command[0] ?? ""}'`;
    if (file === undefined) {
      return { result: "no", reason: `there is no program ${name} that can be executed` };
    }
    if (kind !== "takes from interim") {
      return { result: "unknown", reason: `${name} is not known to be a molt that can be asked` };
    }
    const expired = () =>
      new MigrationError(`the successor has not answered within ${milliseconds} ms`);
    const abort = new AbortController();
    using checked = CheckedProgram.start(command);
    try {
      const asked = ask(checked, preflight, abort.signal);
      // It fails once the limit is over and the program was ended.
      asked.catch(() => {});
      const { program, refusal, unknown } = await within(milliseconds, asked, expired);
      if (unknown !== undefined) return { result: "unknown", reason: unknown };
      return refusal === undefined
        ? { result: "yes", program }
        : { result: "no", program, reason: refusal };
    } catch (error) {
      abort.abort();
      return { result: "no", reason: await checked.failure() ?? messageOf(error) };
    }
  } catch (error) {
    return { result: "no", reason: messageOf(error) };
  }
}

async function ask(
  checked: CheckedProgram,
  preflight: Preflight,
  signal: AbortSignal,
): Promise<Answer> {
  // Who refuses the guest may do so before all of it has come, and end.
  const failure = await send(checked, preflight, signal).then(
    () => undefined,
    (error) => ({ error }),
  );
  const text = await readAnswer(checked);
  if (text !== "") return answer.parse(JSON.parse(text));
  throw failure?.error ?? new MigrationError("the successor has ended without an answer");
}

async function send(
  { cpr, main }: CheckedProgram,
  { source, kept, copyState }: Preflight,
  signal: AbortSignal,
): Promise<void> {
  await handOverOn(new ChannelDescriptor(cpr.duplicate()), kept, signal);
  using stream = new StreamChannel(main.duplicate(), true);
  await stream.write(await copyState(source));
  endSending(stream.fd);
}

async function readAnswer({ answers }: CheckedProgram): Promise<string> {
  using channel = new StreamChannel(answers.duplicate(), true);
  const bytes = new Uint8Array(ANSWER_LIMIT);
  let length = 0;
  for (let count = -1; count !== 0 && length < bytes.length; length += count) {
    count = await channel.read(bytes.subarray(length));
  }
  return new TextDecoder().decode(bytes.subarray(0, length));
}

/** The program that is asked. It is ended with this. */
class CheckedProgram implements Disposable {
  readonly cpr: Descriptor;
  readonly main: Descriptor;
  readonly answers: Descriptor;
  readonly #pid: number;
  readonly #errors: Descriptor;
  readonly #resources: DisposableStack;
  #end: ExitStatus | undefined;

  private constructor(
    pid: number,
    [cpr, main, answers]: readonly [Descriptor, Descriptor, Descriptor],
    errors: Descriptor,
    resources: DisposableStack,
  ) {
    this.#pid = pid;
    this.cpr = cpr;
    this.main = main;
    this.answers = answers;
    this.#errors = errors;
    this.#resources = resources;
  }

  static start(command: readonly string[]): CheckedProgram {
    using undo = new DisposableStack();
    const pairs = [socketPair(), socketPair(), socketPair()] as const;
    for (const ends of pairs) for (const end of ends) undo.use(end);
    const errors = undo.use(createErrorFile());
    using nothing = openFile("/dev/null", OpenFlags.readWrite);
    const theirs = pairs.map(([, end]) => end.fd);
    const descriptors: (readonly [Fd, number])[] = [
      ...theirs.map((fd) => [fd, fd] as const),
      [nothing.fd, 0],
      [nothing.fd, 1],
      [errors.fd, 2],
    ];
    const variables = [...environment(), `${SOCKETS_VARIABLE}=${theirs.join(",")}`];
    const pid = launch.inFolder(() => spawn(command, { descriptors, environment: variables }));
    // Its death must be seen as the end of these connections.
    for (const [, end] of pairs) end[Symbol.dispose]();
    const [[cpr], [main], [answers]] = pairs;
    return new CheckedProgram(pid, [cpr, main, answers], errors, undo.move());
  }

  /** How it ended, and what it printed before; `undefined` if it has not ended. */
  async failure(): Promise<string | undefined> {
    const end = await endOf(() => this.#status());
    if (end === undefined) return undefined;
    return `the successor ${describeExit(end)}${printedTo(this.#errors.fd)}`;
  }

  /** The kernel says so once. */
  #status(): ExitStatus | undefined {
    return this.#end ??= childStatus(this.#pid);
  }

  [Symbol.dispose](): void {
    this.#resources[Symbol.dispose]();
    if (this.#status() !== undefined) return;
    kill(this.#pid, SIGKILL);
    // The kernel keeps its entry until somebody has asked.
    awaitChild(this.#pid).catch(() => {});
  }
}
