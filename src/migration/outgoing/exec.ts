/**
 * cpr-exec: this process executes its successor and keeps its PID.
 *
 *   with a uri      the guest stops -> its devices' state goes into the file -> execve -> the successor
 *                   reads the file (QEMU's way)
 *   without one     an interim monitor takes the guest (cpr/interim/protocol.ts) -> execve -> the successor
 *                   asks the interim monitor for it
 *
 * If execve fails the guest goes on here; from an interim monitor it comes back first.
 */
import type { ChannelAddress } from "../../channel/address.ts";
import type { OutgoingChannel } from "../../channel/channel.ts";
import { isRunState, type RunState } from "../../machine/run_state.ts";
import type { Fd } from "../../native/descriptor.ts";
import { checkStart, tryStart } from "../../process/start_check.ts";
import type { KeptDescriptor } from "../cpr/descriptors.ts";
import { executeSuccessor } from "../cpr/exec.ts";
import { InterimMonitor } from "../cpr/interim/monitor.ts";
import { messageOf, MigrationError } from "../errors.ts";
import { within } from "../limits.ts";
import { MainChannel } from "./main_channel.ts";
import type { Strategy, StrategyContext } from "./strategy.ts";

/** With a `uri`: the guest is paused until the successor has read the file. */
export class ExecWithUriStrategy implements Strategy {
  readonly leavesProcess = false;
  readonly executes = true;
  readonly #context: StrategyContext;
  readonly #main: MainChannel;

  constructor(context: StrategyContext, main: ChannelAddress) {
    this.#context = context;
    this.#main = new MainChannel(context, main);
  }

  begin(): void {
    checkStart();
    this.#main.begin();
  }

  connect(): OutgoingChannel | Promise<OutgoingChannel> {
    return this.#main.connect();
  }

  async run(): Promise<void> {
    using channel = await this.#main.take();
    // Once the guest is stopped for it, a successor that does not start costs the guest.
    await tryStart(this.#context.signal);
    await this.#context.send(channel);
    await execute(this.#context, [], []);
  }
}

/** Without a `uri`: the guest runs in an interim monitor meanwhile. */
export class ExecStrategy implements Strategy {
  readonly leavesProcess = true;
  readonly executes = true;
  readonly #context: StrategyContext;

  constructor(context: StrategyContext) {
    this.#context = context;
  }

  begin(): void {
    checkStart();
  }

  connect(): never {
    throw new MigrationError("an interim monitor takes no pages");
  }

  async run(): Promise<void> {
    const { update, timeline } = this.#context.dependencies;
    using interimMonitor = await this.#start([...update.forInterimMonitor(), timeline.kept]);
    {
      using channel = interimMonitor.takeChannel();
      try {
        await this.#context.send(channel, interimMonitor.ownership);
      } catch (error) {
        throw await this.#reasonOf(interimMonitor, error);
      }
    }
    try {
      const { kept, variable, successorErrors } = interimMonitor;
      await execute(this.#context, kept, [variable], successorErrors);
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

  async #start(kept: readonly KeptDescriptor[]): Promise<InterimMonitor> {
    const { signal, parameters } = this.#context;
    try {
      return await this.#context.limited(
        InterimMonitor.start(kept, signal, parameters()["x-successor-timeout"]),
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

/** Replaces this process's image by the successor's. Returns only by throwing. */
async function execute(
  { dependencies: { update, timeline }, parameters }: StrategyContext,
  more: readonly KeptDescriptor[],
  variables: readonly string[],
  errors?: Fd,
): Promise<void> {
  await update.suspend(true);
  timeline.mark("executing");
  executeSuccessor(
    parameters()["cpr-exec-command"],
    [...update.collect(), timeline.kept, ...more],
    variables,
    errors,
  );
}
