/**
 * cpr-exec: this process executes its successor and keeps its PID. Where the guest is meanwhile depends on
 * the `uri` and on what is known of the successor's program (cpr/interim/successor_program.ts):
 *
 *   no uri, or a program that takes its guest from an interim monitor: it runs there
 *     an interim monitor takes the guest and runs it (cpr/interim/protocol.ts)
 *     -> with a uri, the same state is written there, of which nothing depends any more
 *     -> the program is looked at once more -> execve -> the successor asks the interim monitor for the guest
 *
 *   a uri, and a script: it is paused there, and in the file (cpr/interim/standby.ts)
 *     an interim monitor is on standby -> the guest stops -> its devices' state goes into the file -> execve
 *     -> a molt answers: the guest runs there, and is the successor's soon; or the successor reads the file
 *
 *   a uri, and any other program: it is paused (QEMU's way)
 *     the guest stops -> its devices' state goes into the file -> execve -> the successor reads the file
 *
 * If execve fails the guest goes on here; from an interim monitor it comes back first.
 */
import type { ChannelAddress } from "../../channel/address.ts";
import type { OutgoingChannel } from "../../channel/channel.ts";
import { isRunState, type RunState } from "../../machine/run_state.ts";
import type { Fd } from "../../native/descriptor.ts";
import { status } from "../../native/file.ts";
import { checkStart, tryStart } from "../../process/start_check.ts";
import type { KeptDescriptor } from "../cpr/descriptors.ts";
import { executeSuccessor } from "../cpr/exec.ts";
import { InterimMonitor } from "../cpr/interim/monitor.ts";
import {
  incomingWord,
  lookAtSuccessor,
  requireSame,
  type SuccessorProgram,
} from "../cpr/interim/successor_program.ts";
import { messageOf, MigrationError } from "../errors.ts";
import { within } from "../limits.ts";
import { MainChannel } from "./main_channel.ts";
import type { Strategy, StrategyContext } from "./strategy.ts";

/** Executes the successor. */
export class ExecStrategy implements Strategy {
  readonly executes = true;
  readonly #context: StrategyContext;
  readonly #main: MainChannel | undefined;

  /** `main` is where the `uri` leads, if there is one. */
  constructor(context: StrategyContext, main: ChannelAddress | undefined) {
    this.#context = context;
    this.#main = main && new MainChannel(context, main);
  }

  begin(): void {
    checkStart();
    this.#main?.begin();
  }

  connect(): OutgoingChannel | Promise<OutgoingChannel> {
    if (this.#main === undefined) throw new MigrationError("an interim monitor takes no pages");
    return this.#main.connect();
  }

  async run(): Promise<void> {
    const program = await lookAtSuccessor(this.#context.parameters()["cpr-exec-command"]);
    using channel = await this.#main?.take();
    if (channel === undefined || this.#asks(program)) {
      return await this.#leaveRunning(channel, program);
    }
    if (this.#mayAnswer(program, channel)) return await this.#leaveOnStandby(channel);
    // Once the guest is stopped for it, a successor that does not start costs the guest.
    await tryStart(this.#context.signal);
    await this.#context.send(channel, { stays: true });
    await execute(this.#context);
  }

  /** The successor is known to ask an interim monitor for the guest, and nobody wants it otherwise. */
  #asks({ kind }: SuccessorProgram): boolean {
    const { parameters, capabilities } = this.#context;
    const { "x-interim-monitor": use, "cpr-exec-command": command } = parameters();
    // What says `migrate-incoming` later, or `migrate-continue` before, expects QEMU's states.
    return kind === "takes from interim" && use !== "off" &&
      !capabilities.has("pause-before-switchover") &&
      ![undefined, "defer"].includes(incomingWord(command));
  }

  /** What is executed may start a molt, and an interim monitor could load what is in the file. */
  #mayAnswer({ kind }: SuccessorProgram, channel: OutgoingChannel): boolean {
    const { parameters, capabilities } = this.#context;
    const use = parameters()["x-interim-monitor"];
    const wanted = use === "on" || (use === "auto" && kind === "script");
    const plain = [...capabilities].every((name) => name === "events");
    return wanted && plain && this.#main?.isWholeFile === true &&
      status(channel.fd).kind === "file";
  }

  /** The guest is in the file, and an interim monitor has it run again if a molt answers. */
  async #leaveOnStandby(channel: OutgoingChannel): Promise<void> {
    const { update, timeline } = this.#context.dependencies;
    const kept = [...update.forInterimMonitor(), timeline.kept];
    using interimMonitor = await this.#start(kept, channel.fd);
    await this.#context.send(channel, { stays: true });
    await interimMonitor.seal(channel.fd);
    await execute(this.#context, { kept: interimMonitor.kept });
  }

  /** The guest runs in an interim monitor meanwhile; `copy` gets the state that it has left with. */
  async #leaveRunning(
    copy: OutgoingChannel | undefined,
    program: SuccessorProgram,
  ): Promise<void> {
    const { update, timeline } = this.#context.dependencies;
    using interimMonitor = await this.#start([...update.forInterimMonitor(), timeline.kept]);
    {
      using channel = interimMonitor.takeChannel();
      try {
        await this.#context.send(channel, {
          ownership: interimMonitor.ownership,
          // Between a monitor and its interim monitor there is nothing to agree on.
          capabilities: new Set(),
          part: copy === undefined ? "whole" : "first",
        });
      } catch (error) {
        throw await this.#reasonOf(interimMonitor, error);
      }
    }
    try {
      if (copy !== undefined) await this.#context.send(copy, { part: "copy" });
      await execute(this.#context, interimMonitor, copy && program);
    } catch (error) {
      this.#context.returned(await this.#takeBack(interimMonitor, error));
      throw error;
    }
  }

  /** Why the interim monitor has not taken the guest: if it has ended, how. */
  async #reasonOf(interimMonitor: InterimMonitor, error: unknown): Promise<unknown> {
    if (this.#context.signal.aborted) return error;
    const failure = await interimMonitor.failure();
    if (failure === undefined) return error;
    return new MigrationError(`the interim monitor has not taken the guest: ${failure}`, {
      cause: error,
    });
  }

  /** With `file` it is on standby. */
  async #start(kept: readonly KeptDescriptor[], file?: Fd): Promise<InterimMonitor> {
    const { signal, parameters } = this.#context;
    try {
      return await this.#context.limited(
        InterimMonitor.start(kept, signal, parameters()["x-successor-timeout"], file),
        "the interim monitor is not ready",
      );
    } catch (error) {
      // If no program can be started, that is the reason.
      if (!signal.aborted) await tryStart(signal);
      throw error;
    }
  }

  /** The guest comes back: the successor could not be executed because of `cause`. */
  async #takeBack(interimMonitor: InterimMonitor, cause: unknown): Promise<RunState | undefined> {
    const { source, parameters } = this.#context;
    const milliseconds = parameters()["x-handover-timeout"];
    const runState = await within(
      milliseconds,
      interimMonitor.giveBack(source).catch(async (error) => {
        const failure = await interimMonitor.failure();
        if (failure === undefined) throw error;
        throw new MigrationError(
          `${messageOf(cause)}; the guest is lost: the interim monitor that had it, ${failure}`,
          { cause: error },
        );
      }),
      () =>
        new MigrationError(
          `${messageOf(cause)}; the guest is with process ${interimMonitor.pid}, which has not ` +
            `given it back for ${milliseconds} ms`,
        ),
    );
    return isRunState(runState) ? runState : undefined;
  }
}

/** What a successor needs that finds an interim monitor. */
interface HandedOn {
  readonly kept: readonly KeptDescriptor[];
  readonly variable?: string;
  readonly successorErrors?: Fd;
}

/**
 * Replaces this process's image by the successor's, which must still be `expected` if that is given.
 * Returns only by throwing.
 */
async function execute(
  { dependencies: { update, timeline }, parameters }: StrategyContext,
  interimMonitor?: HandedOn,
  expected?: SuccessorProgram,
): Promise<void> {
  await update.suspend(true);
  timeline.mark("executing");
  const { kept = [], variable, successorErrors } = interimMonitor ?? {};
  const command = parameters()["cpr-exec-command"];
  const all = [...update.collect(), timeline.kept, ...kept];
  if (expected !== undefined) requireSame(command, expected);
  executeSuccessor(command, all, variable === undefined ? [] : [variable], successorErrors);
}
