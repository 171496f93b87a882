/** What the ways of moving a machine have in common; each is a file of its own beside this one. */
import type { ChannelAddress } from "../../channel/address.ts";
import type { OutgoingChannel } from "../../channel/channel.ts";
import type { RunState } from "../../machine/run_state.ts";
import type { Ownership } from "../cpr/ownership.ts";
import type { MigrationDependencies } from "../dependencies.ts";
import type { MigrationParameters } from "../parameters.ts";
import type { MigratableMachine } from "../source.ts";

/** One way of moving the machine. */
export interface Strategy {
  /** Once the machine was sent another process may run it: this one must not, whatever fails. */
  readonly leavesProcess: boolean;
  /** The attempt's success is the end of this process's image: there is nobody to see it. */
  readonly executes: boolean;
  /** Refuses what can be refused at once, and opens what can be opened at once. */
  begin(): void;
  /** One more connection to the destination, for pages. */
  connect(): OutgoingChannel | Promise<OutgoingChannel>;
  /** Moves the machine. Throws if it is still here, and what it was refused for. */
  run(): Promise<void>;
}

/** What a strategy asks of the attempt that it belongs to (attempt.ts). */
export interface StrategyContext {
  readonly dependencies: MigrationDependencies;
  readonly source: MigratableMachine;
  readonly parameters: () => MigrationParameters;
  /** Aborted with the reason when the attempt is to end. */
  readonly signal: AbortSignal;
  /** Opens a channel, within the limits that parameters set. */
  open(address: ChannelAddress): OutgoingChannel | Promise<OutgoingChannel>;
  /** Sends the machine. `handingOver` is for what goes with it beside the stream. */
  send(
    channel: OutgoingChannel,
    ownership?: Ownership,
    handingOver?: () => Promise<void>,
  ): Promise<void>;
  /** Waits for a part of the attempt, which is interrupted if that takes too long. */
  limited<Value>(part: Promise<Value>, complaint: string): Promise<Value>;
  /** The machine came back, stopped; it is to do what `runState` says. */
  returned(runState: RunState | undefined): void;
}
