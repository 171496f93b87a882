/**
 * Migration and cpr-reboot: all of the machine goes through one channel (and more beside it with multifd), to
 * a destination or into a file.
 */
import type { ChannelAddress } from "../../channel/address.ts";
import type { OutgoingChannel } from "../../channel/channel.ts";
import { MainChannel } from "./main_channel.ts";
import type { Strategy, StrategyContext } from "./strategy.ts";

/** Sends the machine to `main`. */
export class StreamStrategy implements Strategy {
  readonly executes = false;
  readonly #context: StrategyContext;
  readonly #main: MainChannel;

  constructor(context: StrategyContext, main: ChannelAddress) {
    this.#context = context;
    this.#main = new MainChannel(context, main);
  }

  begin(): void {
    this.#main.begin();
  }

  connect(): OutgoingChannel | Promise<OutgoingChannel> {
    return this.#main.connect();
  }

  async run(): Promise<void> {
    using channel = await this.#main.take();
    await this.#context.send(channel);
  }
}
