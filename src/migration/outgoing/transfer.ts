/**
 * cpr-transfer: descriptors go to a second process over a unix socket, then the devices' state through the
 * main channel. An ownership flag that both map decides who has the guest.
 */
import type { ChannelAddress } from "../../channel/address.ts";
import type { OutgoingChannel } from "../../channel/channel.ts";
import { Ownership, OWNERSHIP_NAME } from "../cpr/ownership.ts";
import { handOverDescriptors } from "../cpr/transfer.ts";
import { MigrationError } from "../errors.ts";
import type { Strategy, StrategyContext } from "./strategy.ts";

/** Hands the machine over to a process that waits for it. */
export class TransferStrategy implements Strategy {
  readonly executes = false;
  readonly #context: StrategyContext;
  readonly #main: ChannelAddress;
  readonly #cpr: ChannelAddress;

  constructor(context: StrategyContext, main: ChannelAddress, cpr: ChannelAddress) {
    this.#context = context;
    this.#main = main;
    this.#cpr = cpr;
  }

  /** The destination listens on the main channel when it has the descriptors: nothing can be opened yet. */
  begin(): void {}

  connect(): OutgoingChannel | Promise<OutgoingChannel> {
    return this.#context.open(this.#main);
  }

  async run(): Promise<void> {
    const { dependencies: { update }, signal } = this.#context;
    using ownership = Ownership.create();
    const kept = [...update.announce(), ownership.kept(OWNERSHIP_NAME)];
    await this.#context.limited(
      handOverDescriptors(this.#cpr, kept, signal),
      "the destination has not taken the CPR state",
    );
    using channel = await this.connect();
    await this.#context.send(channel, { ownership, handingOver: () => update.suspend(false) });
    // QEMU, which does not use the ownership flag, has no use for what survives here.
    if (ownership.keep()) update.rollback();
    else update.commit();
  }
}

/** Hands an interim monitor's machine to the successor, which has the descriptors and the flag. */
export class ReturnStrategy implements Strategy {
  readonly executes = false;
  readonly #context: StrategyContext;
  readonly #channel: OutgoingChannel;
  readonly #ownership: Ownership;
  readonly #handingOver: () => void;

  /** Channel and flag stay the caller's. */
  constructor(
    context: StrategyContext,
    channel: OutgoingChannel,
    ownership: Ownership,
    handingOver: () => void,
  ) {
    this.#context = context;
    this.#channel = channel;
    this.#ownership = ownership;
    this.#handingOver = handingOver;
  }

  begin(): void {}

  connect(): never {
    throw new MigrationError("a successor takes no pages");
  }

  async run(): Promise<void> {
    await this.#context.send(this.#channel, {
      ownership: this.#ownership,
      handingOver: () => Promise.resolve(this.#handingOver()),
    });
  }
}
