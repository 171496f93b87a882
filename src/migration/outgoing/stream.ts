/**
 * Migration and cpr-reboot: all of the machine goes through one channel (and more beside it with multifd), to
 * a destination or into a file.
 */
import type { ChannelAddress } from "../../channel/address.ts";
import type { OutgoingChannel } from "../../channel/channel.ts";
import type { Strategy, StrategyContext } from "./strategy.ts";

/** Sends the machine to `main`. */
export class StreamStrategy implements Strategy {
  readonly leavesProcess = true;
  readonly executes = false;
  readonly #context: StrategyContext;
  readonly #main: ChannelAddress;
  #opening: Promise<OutgoingChannel> | undefined;

  constructor(context: StrategyContext, main: ChannelAddress) {
    this.#context = context;
    this.#main = main;
  }

  begin(): void {
    this.#opening = Promise.resolve(this.connect());
    // Its error is met in run().
    this.#opening.catch(() => {});
  }

  connect(): OutgoingChannel | Promise<OutgoingChannel> {
    return this.#context.open(this.#main);
  }

  async run(): Promise<void> {
    using channel = await (this.#opening ?? this.connect());
    await this.#context.send(channel);
  }
}
