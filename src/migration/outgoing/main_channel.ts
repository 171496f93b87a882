/** The main channel of a migration, opened while the command that asked for it is still being answered. */
import type { ChannelAddress } from "../../channel/address.ts";
import type { OutgoingChannel } from "../../channel/channel.ts";
import { namesSet } from "../../native/descriptor_path.ts";
import type { StrategyContext } from "./strategy.ts";

/** A channel to one address. */
export class MainChannel {
  readonly #context: StrategyContext;
  readonly #address: ChannelAddress;
  #opening: Promise<OutgoingChannel> | undefined;

  constructor(context: StrategyContext, address: ChannelAddress) {
    this.#context = context;
    this.#address = address;
  }

  /** Begins to open it. Throws what can be known at once. */
  begin(): void {
    this.#opening = Promise.resolve(this.connect());
    // Its error is met where the channel is taken.
    this.#opening.catch(() => {});
  }

  /** The channel, which is the caller's. */
  async take(): Promise<OutgoingChannel> {
    return await (this.#opening ?? this.connect());
  }

  /** It is a file that has a path of its own, from its beginning on. */
  get isWholeFile(): boolean {
    const address = this.#address;
    return address.kind === "file" && address.offset === 0 && !namesSet(address.path);
  }

  /** One more connection to the same address. */
  connect(): OutgoingChannel | Promise<OutgoingChannel> {
    return this.#context.open(this.#address);
  }
}
