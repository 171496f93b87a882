/** What the ways of moving a machine have in common; each is a file of its own beside this one. */
import type { ChannelAddress } from "../../channel/address.ts";
import type { OutgoingChannel } from "../../channel/channel.ts";
import type { RunState } from "../../machine/run_state.ts";
import type { CapabilitySet } from "../capabilities.ts";
import type { Ownership } from "../cpr/ownership.ts";
import type { MigrationDependencies } from "../dependencies.ts";
import type { MigrationParameters } from "../parameters.ts";
import type { MigratableMachine } from "../source.ts";

/** What is particular about one sending of the machine. By default it is all that an attempt does. */
export interface SendOptions {
  /** The flag that decides who has the guest, in a process that maps its memory. */
  readonly ownership?: Ownership;
  /** For what goes with the guest beside the stream. */
  readonly handingOver?: () => Promise<void>;
  /** Instead of those that a user has turned on. */
  readonly capabilities?: CapabilitySet;
  /**
   * whole: the attempt is completed when it was sent. first: a copy follows. copy: what was sent before
   * is written once more, which nobody is notified of.
   */
  readonly part?: "whole" | "first" | "copy";
  /** Nobody else runs the guest, though it was sent: it can go on here. */
  readonly stays?: boolean;
}

/** One way of moving the machine. */
export interface Strategy {
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
  readonly capabilities: CapabilitySet;
  /** Aborted with the reason when the attempt is to end. */
  readonly signal: AbortSignal;
  /** Opens a channel, within the limits that parameters set. */
  open(address: ChannelAddress): OutgoingChannel | Promise<OutgoingChannel>;
  /** Sends the machine, which is then another process's unless `options` says something else. */
  send(channel: OutgoingChannel, options?: SendOptions): Promise<void>;
  /** Waits for a part of the attempt, which is interrupted if that takes too long. */
  limited<Value>(part: Promise<Value>, complaint: string): Promise<Value>;
  /** The machine came back, stopped; it is to do what `runState` says. */
  returned(runState: RunState | undefined): void;
}
