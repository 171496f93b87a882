/**
 * `exec:`: a program whose standard input or output is the channel.
 *
 * Outgoing, the channel is finished when the program has ended well; if the migration fails before,
 * the program is asked to end, so that it does not take half a stream for a whole one.
 */
import { isBrokenChannel } from "../native/channel.ts";
import type { Descriptor, Fd } from "../native/descriptor.ts";
import { Errno, errnoMessage, SystemError } from "../native/errors.ts";
import { createPipe } from "../native/file.ts";
import { awaitChild, describeExit, type ExitStatus, kill, spawn } from "../native/process.ts";
import { ChannelError } from "./channel.ts";
import { StreamChannel } from "./stream.ts";

const SIGTERM = 15;
/** How long a program that has closed its end may take to end, until it is not waited for any more, in ms. */
const ENDING_MS = 2000;

/** A running program, the leader of a session of its own. */
class Program {
  readonly #command: readonly string[];
  readonly #pid: number;
  readonly #ended: Promise<ExitStatus>;
  #running = true;

  constructor(command: readonly string[], descriptors: readonly (readonly [Fd, number])[]) {
    this.#command = command;
    this.#pid = spawn(command, { descriptors, session: true });
    this.#ended = awaitChild(this.#pid).finally(() => {
      this.#running = false;
    });
  }

  /** Waits for its end. Throws if it did not end well. */
  async succeeded(): Promise<void> {
    const outcome = await this.#ended;
    if (outcome.kind === "exited" && outcome.status === 0) return;
    throw new ChannelError(`The command '${this.#describe()}' ${describeExit(outcome)}`);
  }

  /**
   * The error to report for `error`, which the channel met: how the program ended, if it did. One that
   * ended well ended too early.
   */
  async failure(error: unknown): Promise<unknown> {
    if (!isBrokenChannel(error)) return error;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const limit = new Promise<undefined>((resolve) =>
      timer = setTimeout(() => resolve(undefined), ENDING_MS)
    );
    const outcome = await Promise.race([this.#ended, limit]);
    clearTimeout(timer);
    const how = outcome === undefined
      ? "reads no more"
      : `${describeExit(outcome)} before it had read everything`;
    return new ChannelError(`The command '${this.#describe()}' ${how}`, { cause: error });
  }

  /** Asks it and its children to end. */
  end(): void {
    if (!this.#running) return;
    try {
      kill(-this.#pid, SIGTERM);
    } catch (error) {
      // It has ended at this moment.
      if (!(error instanceof SystemError && error.errno === Errno.ESRCH)) throw error;
    }
  }

  #describe(): string {
    const [program, option, shellCommand] = this.#command;
    return program === "/bin/sh" && option === "-c" && shellCommand !== undefined
      ? shellCommand
      : this.#command.join(" ");
  }
}

/** Starts `command` with `inner`, one end of a pipe, as its descriptor `number`. */
function start(
  command: readonly string[],
  [inner, outer]: readonly [inner: Descriptor, outer: Descriptor],
  number: number,
): Program {
  using _ = inner;
  try {
    return new Program(command, [[inner.fd, number]]);
  } catch (error) {
    outer[Symbol.dispose]();
    if (!(error instanceof SystemError)) throw error;
    throw new ChannelError(
      `Failed to execute child process “${command[0]}” (${errnoMessage(error.errno)})`,
      { cause: error },
    );
  }
}

/** The standard input of a program. */
export class OutgoingCommand extends StreamChannel {
  readonly #program: Program;
  #finished = false;

  private constructor(input: Descriptor, program: Program) {
    super(input, false);
    this.#program = program;
  }

  /** Starts `command`. Throws ChannelError. */
  static start(command: readonly string[]): OutgoingCommand {
    const [reader, writer] = createPipe();
    return new OutgoingCommand(writer, start(command, [reader, writer], 0));
  }

  /** As in other channels; a program that reads no more is named, with how it ended. */
  override async write(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.#explaining(super.write(bytes));
  }

  /** As {@linkcode write}. */
  override async writeInBulk(
    operation: (channel: bigint) => Promise<number | bigint>,
  ): Promise<number> {
    return await this.#explaining(super.writeInBulk(operation));
  }

  async #explaining<Value>(writing: Promise<Value>): Promise<Value> {
    try {
      return await writing;
    } catch (error) {
      throw await this.#program.failure(error);
    }
  }

  /** Ends the program's input and waits until it has ended. Throws if it did not end well. */
  override async finish(): Promise<void> {
    this.#finished = true;
    super[Symbol.dispose]();
    await this.#program.succeeded();
  }

  override cancel(): void {
    super.cancel();
    this.#program.end();
  }

  override [Symbol.dispose](): void {
    super[Symbol.dispose]();
    if (!this.#finished) this.#program.end();
  }
}

/** The standard output of a program. */
export class IncomingCommand extends StreamChannel {
  readonly #program: Program;

  private constructor(output: Descriptor, program: Program) {
    super(output, false);
    this.#program = program;
  }

  /** Starts `command`. Throws ChannelError. */
  static start(command: readonly string[]): IncomingCommand {
    const [reader, writer] = createPipe();
    return new IncomingCommand(reader, start(command, [writer, reader], 1));
  }

  /** As in other channels; the end counts only if the program ended well. */
  override async read(buffer: Uint8Array<ArrayBuffer>): Promise<number> {
    const count = await super.read(buffer);
    if (count === 0) await this.#program.succeeded();
    return count;
  }

  override cancel(): void {
    super.cancel();
    this.#program.end();
  }

  override [Symbol.dispose](): void {
    super[Symbol.dispose]();
    this.#program.end();
  }
}
