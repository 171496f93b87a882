/**
 * The reading of one stream: configuration, block list, pages, devices, end; and what follows when the
 * source can be answered (return_path.ts).
 */
import type { IncomingChannel } from "../channel/channel.ts";
import type { StreamChannel } from "../channel/stream.ts";
import { ChannelCancelled, isBrokenChannel } from "../native/channel.ts";
import { SystemError } from "../native/errors.ts";
import type { CapabilitySet } from "./capabilities.ts";
import type { Ownership } from "./cpr/ownership.ts";
import { ReceivedDevices } from "./device_state.ts";
import { MigrationError } from "./errors.ts";
import { MultifdReceiver } from "./multifd/receiver.ts";
import type { MigrationParameters } from "./parameters.ts";
import type { StreamProperties } from "./properties.ts";
import { hasInput, watchForInput, yieldToOthers } from "../native/wait.ts";
import { requireIntact } from "./ram/intact.ts";
import { RamReceiver } from "./ram_receiver.ts";
import { MOLT_PING, ReturnPathWriter } from "./return_path.ts";
import { type MigratableMachine, streamConfiguration } from "./source.ts";
import type { Command } from "./stream/commands.ts";
import { checkConfiguration } from "./stream/configuration.ts";
import { StreamErrno, StreamError } from "./stream/errors.ts";
import { StreamReader } from "./stream/stream_reader.ts";

/** What a process before this one handed over. */
export interface HandedOver {
  /** Names of the descriptors that this machine took. */
  readonly names: ReadonlySet<string>;
  /** Which of the two processes has the guest. */
  readonly ownership: Ownership | undefined;
}

/** What decides how a stream is read. */
export interface SessionPlan {
  /** What a process before this one handed over; absent unless this is a live update. */
  readonly handedOver: () => HandedOver | undefined;
  /** Capabilities and parameters now: they may be set while the destination listens. */
  readonly capabilities: () => CapabilitySet;
  readonly parameters: () => MigrationParameters;
  readonly stream: StreamProperties;
  /** Takes the guest of a stream that nobody can be asked about; false if it is not to be had. */
  readonly claim?: (() => boolean) | undefined;
}

/** Bytes read at once, if there are so many: pages come in bulk. */
const READ_SIZE = 1 << 20;

/** How long the thread waits for input, and how often before another thread does. */
const PROMPT_WAIT_MS = 2;
const PROMPT_WAITS = 100;
/** How long it looks for input without sleeping, while a guest is paused. */
const WATCH_MS = 0.5;

/** What an operator has to know who decides where the guest goes on. */
const ONLY_IF = "let it go on here only if it does not run there";

function takenBack(): MigrationError {
  return new MigrationError("the source has taken the guest back");
}

/** The reading of one stream. */
export class IncomingSession implements AsyncDisposable {
  readonly #plan: SessionPlan;
  readonly #target: MigratableMachine;
  readonly #channel: IncomingChannel;
  readonly #devices: ReceivedDevices;
  readonly #multifd: MultifdReceiver | undefined;
  readonly #ram: RamReceiver;
  readonly #reader: StreamReader;
  readonly #handedOver: HandedOver | undefined;
  #returnPath: ReturnPathWriter | undefined;
  /** The source was notified that the machine is loaded. */
  #confirmed = false;
  /** The source has said that it stopped the guest for the rest of the stream. */
  #switchedOver = false;
  /** The source has given the guest up. */
  #committed = false;
  /** The source has stopped the guest, whose memory is here. */
  #standsStill = false;

  constructor(
    plan: SessionPlan,
    target: MigratableMachine,
    channel: IncomingChannel,
    multifd: readonly StreamChannel[],
  ) {
    this.#plan = plan;
    this.#target = target;
    this.#channel = channel;
    this.#devices = new ReceivedDevices(target);
    if (multifd.length > 0) {
      this.#multifd = new MultifdReceiver({
        channels: multifd,
        uuid: target.uuid,
        compression: plan.parameters()["multifd-compression"],
        failed: () => channel.cancel(),
      });
    }
    const handedOver = plan.handedOver();
    this.#handedOver = handedOver;
    this.#reader = new StreamReader({
      devices: (idstr, instanceId) => this.#devices.descriptionsOf(idstr, instanceId),
      offset: channel.seekable ? channel.position : 0,
      ...(handedOver === undefined ? { readSize: READ_SIZE, pagesInBulk: true } : {}),
    });
    this.#ram = new RamReceiver({
      target,
      channel,
      reader: this.#reader,
      handedOver: handedOver?.names,
      multifd: this.#multifd,
      flushAfterEachSection: plan.stream.flushAfterEachSection,
      fileAccess: () => {
        const parameters = plan.parameters();
        const multifd = plan.capabilities().has("multifd");
        return {
          channels: multifd ? parameters["multifd-channels"] : 1,
          directIo: multifd && parameters["direct-io"],
        };
      },
    });
  }

  /** Bytes of the main channel that were read. */
  get bytes(): number {
    return this.#reader.offset;
  }

  /** Loads the machine. Returns the source's run state before it was stopped. */
  async load(): Promise<string> {
    try {
      await this.#multifd?.greet();
      for (;;) {
        const item = this.#reader.next();
        switch (item?.kind) {
          case undefined:
            await this.#readMore();
            break;
          case "configuration":
            checkConfiguration(
              item.configuration,
              {
                ...streamConfiguration(this.#target, this.#plan.capabilities()),
                ...(this.#target.uuid === undefined ? {} : { uuid: this.#target.uuid }),
              },
              item.offset,
            );
            break;
          case "command":
            await this.#command(item.command, item.offset);
            break;
          case "ram begins":
          case "pages":
          case "ram":
          case "ram ends":
            await this.#ram.take(item);
            break;
          case "device":
            this.#devices.add(item.section.idstr, item.section.instanceId, item.state);
            break;
          case "end of stream":
            this.#ram.requireWhole(this.#switchedOver);
            this.#devices.apply();
            requireIntact(this.#target.blocks);
            return this.#devices.runState;
        }
      }
    } catch (error) {
      await this.#returnPath?.shut(false).catch(() => {});
      throw this.#multifd?.failure ?? this.#placed(error);
    }
  }

  /**
   * Makes the loaded guest this process's, if the source agrees. Returns a reason why the guest should
   * wait for a person's decision: the source died without having said whose it is.
   */
  async takeOver(): Promise<string | undefined> {
    const { claim } = this.#plan;
    if (claim !== undefined) {
      if (!claim()) throw takenBack();
      return;
    }
    const ownership = this.#returnPath?.ownership;
    if (ownership !== undefined) {
      if (!ownership.take()) throw takenBack();
      return;
    }
    if (!this.#returnPath?.sourceCommits) return;
    this.#reader.expectEpilogue();
    const gone = `the source went away before it gave the guest up: ${ONLY_IF}`;
    try {
      await this.#confirm();
    } catch (error) {
      if (!isBrokenChannel(error)) throw error;
      return gone;
    }
    using limit = this.#limit();
    for (;;) {
      const item = this.#reader.next();
      switch (item?.kind) {
        case undefined:
          await this.#readMore().catch(() => this.#reader.end());
          break;
        case "command":
          if (item.command.name !== "COMMIT") throw takenBack();
          this.#committed = true;
          return;
        case "end":
          if (!limit.reached) return gone;
          return `the source has not given the guest up for ${limit.milliseconds} ms: ${ONLY_IF}`;
      }
    }
  }

  /**
   * Reports to a source that does not know it yet that the guest runs here, and waits for one that shares
   * the ownership flag: it has then sent all that there is about what survives.
   */
  async end(): Promise<void> {
    try {
      if (!this.#confirmed) await this.#confirm();
      if (this.#committed) await this.#returnPath?.acknowledgeCommit();
      if (this.#returnPath?.ownership === undefined) return;
      using _ = this.#limit();
      const rest = new Uint8Array(4096);
      while (await this.#channel.read(rest)) { /* the description of what was sent */ }
    } catch (error) {
      // A source that is gone, or silent, does not matter any more.
      if (!isBrokenChannel(error) && !(error instanceof ChannelCancelled)) throw error;
    }
  }

  /** Ends a wait for the source after the time that a hand-over may take: the channel is cancelled. */
  #limit(): Disposable & { readonly reached: boolean; readonly milliseconds: number } {
    const milliseconds = this.#plan.parameters()["x-handover-timeout"];
    let reached = false;
    const timer = setTimeout(() => {
      reached = true;
      this.#channel.cancel();
    }, milliseconds);
    return {
      milliseconds,
      get reached() {
        return reached;
      },
      [Symbol.dispose]: () => clearTimeout(timer),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#multifd?.[Symbol.asyncDispose]();
    this.#ram[Symbol.dispose]();
  }

  /** Says where in the stream the system refused something. */
  #placed(error: unknown): unknown {
    if (!(error instanceof SystemError)) return error;
    const reason = isBrokenChannel(error)
      ? `the source disconnected: ${error.message}`
      : error.message;
    return new StreamError(reason, this.#reader.offset, { errno: error.errno, cause: error });
  }

  async #confirm(): Promise<void> {
    this.#confirmed = true;
    await this.#returnPath?.shut(true);
  }

  async #readMore(): Promise<void> {
    if (this.#handedOver !== undefined) await this.#awaitPromptly();
    const space = this.#reader.space();
    if (this.#channel.seekable) this.#channel.seek(this.#reader.wantedOffset);
    const count = await this.#channel.read(space);
    if (count === 0) this.#reader.end();
    else this.#reader.filled(count);
  }

  /**
   * Waits for input without leaving the thread, some milliseconds at a time: while the guest stands
   * still, waking up counts.
   */
  async #awaitPromptly(): Promise<void> {
    if (this.#channel.seekable) return;
    if (this.#standsStill && watchForInput(this.#channel.fd, WATCH_MS)) return;
    for (let time = 0; time < PROMPT_WAITS; time++) {
      if (hasInput(this.#channel.fd, PROMPT_WAIT_MS)) return;
      await yieldToOthers();
    }
  }

  async #command(command: Command, offset: number): Promise<void> {
    switch (command.name) {
      case "OPEN_RETURN_PATH": {
        const { returnPath } = this.#channel;
        if (returnPath === undefined) throw new StreamError("CMD_OPEN_RETURN_PATH failed", offset);
        this.#returnPath = new ReturnPathWriter(returnPath, this.#handedOver?.ownership);
        if (this.#plan.stream.switchoverAckLegacy) await this.#acknowledgeSwitchover();
        break;
      }
      case "PING":
        if (this.#returnPath === undefined) {
          throw new StreamError(
            `CMD_PING (0x${command.value.toString(16)}) received with no return path`,
            offset,
            { errno: StreamErrno.EPERM },
          );
        }
        await this.#returnPath.pong(command.value);
        // molt 0.1.0 waits for it, as QEMU did before 11.1; later ones do not mind.
        if (command.value === MOLT_PING && !this.#plan.stream.switchoverAckLegacy) {
          await this.#acknowledgeSwitchover();
        }
        break;
      case "SWITCHOVER_START":
        this.#switchedOver = true;
        if (this.#handedOver !== undefined) {
          this.#standsStill = true;
          this.#devices.loadEarly();
        }
        break;
      default:
        throw new StreamError(`${command.name} is not supported`, offset, {
          errno: StreamErrno.ENOTSUP,
        });
    }
  }

  /** No device asks for more time. */
  async #acknowledgeSwitchover(): Promise<void> {
    if (!this.#plan.capabilities().has("switchover-ack")) return;
    await this.#returnPath?.acknowledgeSwitchover();
  }
}
