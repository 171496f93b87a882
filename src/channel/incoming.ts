/**
 * The destination's side: an address becomes a listener, and what arrives there channels to read from.
 *
 *   file, program, descriptor    open at once; accept() gives it
 *   socket                       listening -> one connection, or with multifd 1 + N in any order,
 *                                distinguished by their first four bytes -> no longer listening
 */
import { ChannelDescriptor } from "../native/channel.ts";
import { Descriptor } from "../native/descriptor.ts";
import { Errno, SystemError } from "../native/errors.ts";
import { unlink } from "../native/file.ts";
import { accept, boundAddress, isListening, listen } from "../native/socket.ts";
import { type ChannelAddress, socketAddress } from "./address.ts";
import { ChannelError, type IncomingChannel } from "./channel.ts";
import { IncomingCommand } from "./command.ts";
import { IncomingFile } from "./file.ts";
import { openDescriptor } from "./outgoing.ts";
import { type GivenDescriptors, takeDescriptor } from "./path.ts";
import { StreamChannel } from "./stream.ts";

/** First u32 of the main channel: `QEVM`. */
const MAIN_MAGIC = 0x5145564d;
/** First u32 of each multifd channel. */
const MULTIFD_MAGIC = 0x11223344;
/** Connections that may wait to be accepted: multifd has at most 255 channels. */
const BACKLOG = 256;

/** Where a listener can be reached, as query-migrate's `socket-address` shows it. */
export type ListeningAddress =
  | {
    readonly type: "inet";
    readonly host: string;
    readonly port: string;
    readonly ipv4?: true;
    readonly ipv6?: true;
  }
  | { readonly type: "unix"; readonly path: string };

/** The channels of one incoming migration. */
export interface IncomingChannels extends Disposable {
  readonly main: IncomingChannel;
  /** In the order of their arrival. */
  readonly multifd: readonly StreamChannel[];
}

/** Waits for the source of a migration. */
export interface MigrationListener extends Disposable {
  /** Empty unless it is a socket. */
  readonly addresses: readonly ListeningAddress[];
  /**
   * Resolves when all channels are there. `multifdChannels` is asked when the first is: how many
   * besides the main one will come.
   */
  accept(multifdChannels: () => number): Promise<IncomingChannels>;
  /** Makes accept() fail with ChannelCancelled. */
  cancel(): void;
  /** As cancel(), if a connection has come, and no others are waited for. False if none has. */
  cut(): boolean;
}

/** Listens at an address, or opens what it names. Throws what is wrong with it. */
export async function listenForMigration(
  address: ChannelAddress,
  given: GivenDescriptors,
): Promise<MigrationListener> {
  switch (address.kind) {
    case "file":
      return new ReadyChannel(IncomingFile.open(address.path, address.offset, given.openPath));
    case "exec":
      return new ReadyChannel(IncomingCommand.start(address.command));
    case "descriptor": {
      const descriptor = takeDescriptor(address.name, given);
      return isListening(descriptor.fd)
        ? new SocketListener(descriptor)
        : new ReadyChannel(openDescriptor(descriptor));
    }
    case "unix": {
      const socket = await listen(socketAddress(address), BACKLOG);
      return new SocketListener(socket, address.abstract ? undefined : address.path);
    }
    case "inet":
      return new SocketListener(await listenInet(address));
  }
}

/** Listens at the address's port or the first free one up to `to`. */
async function listenInet(
  address: Extract<ChannelAddress, { kind: "inet" }>,
): Promise<Descriptor> {
  const { host, port, to } = address;
  // One socket for both families where the host has IPv6.
  const hosts = host === "" && address.ipv4 === undefined && address.ipv6 === undefined
    ? ["::", "0.0.0.0"]
    : [host];
  let failure: unknown;
  for (let next = port;; next = String(Number(next) + 1)) {
    for (const candidate of hosts) {
      try {
        return await listen(
          socketAddress({ ...address, host: candidate, port: next }),
          BACKLOG,
        );
      } catch (error) {
        failure = error;
      }
    }
    const inUse = failure instanceof SystemError && failure.errno === Errno.EADDRINUSE;
    if (!inUse || to === undefined || Number(next) >= to) throw failure;
  }
}

/** A channel that is open from the start. */
class ReadyChannel implements MigrationListener {
  readonly addresses = [];
  readonly #channel: IncomingChannel;
  #accepted = false;

  constructor(channel: IncomingChannel) {
    this.#channel = channel;
  }

  accept(): Promise<IncomingChannels> {
    this.#accepted = true;
    const main = this.#channel;
    return Promise.resolve({
      main,
      multifd: [],
      [Symbol.dispose]: () => main[Symbol.dispose](),
    });
  }

  cancel(): void {
    this.#channel.cancel();
  }

  cut(): boolean {
    this.cancel();
    return true;
  }

  [Symbol.dispose](): void {
    if (!this.#accepted) this.#channel[Symbol.dispose]();
  }
}

/** A listening socket. */
class SocketListener implements MigrationListener {
  readonly addresses: readonly ListeningAddress[];
  readonly #socket: ChannelDescriptor;
  readonly #path: string | undefined;
  readonly #arrived: StreamChannel[] = [];

  /** Takes over `socket`, and the socket file `path`, which is removed in the end. */
  constructor(socket: Descriptor, path?: string) {
    // A source must not go on waiting for somebody who does not come.
    using undo = new DisposableStack();
    undo.use(socket);
    if (path !== undefined) undo.defer(() => removeSocketFile(path));
    this.#path = path;
    const bound = boundAddress(socket.fd);
    this.addresses = [
      bound.kind === "unix" ? { type: "unix", path: bound.path } : {
        type: "inet",
        host: bound.host,
        port: String(bound.port),
        ...(bound.v6 ? { ipv6: true } : { ipv4: true }),
      },
    ];
    this.#socket = new ChannelDescriptor(socket);
    undo.move();
  }

  async accept(multifdChannels: () => number): Promise<IncomingChannels> {
    using undo = new DisposableStack();
    const first = undo.use(await this.#next());
    const channels = this.#arrived;
    channels.push(first);
    const expected = multifdChannels();
    while (channels.length < 1 + expected) {
      const next = await this.#next(first);
      if (next === undefined) {
        throw new ChannelError(
          `the source disconnected: ${channels.length} of ${1 + expected} connections were made`,
        );
      }
      channels.push(undo.use(next));
    }
    const main = expected === 0 ? channels[0] : await findMain(channels);
    if (main === undefined) throw new ChannelError("the main channel is missing");
    const resources = undo.move();
    this[Symbol.dispose]();
    return {
      main,
      multifd: channels.filter((channel) => channel !== main),
      [Symbol.dispose]: () => resources[Symbol.dispose](),
    };
  }

  cancel(): void {
    this.#socket.cancel();
  }

  cut(): boolean {
    if (this.#arrived.length === 0) return false;
    this.cancel();
    for (const channel of this.#arrived) channel.cancel();
    return true;
  }

  [Symbol.dispose](): void {
    if (this.#socket.cancelled && this.#closed) return;
    this.#closed = true;
    this.#socket[Symbol.dispose]();
    if (this.#path !== undefined) removeSocketFile(this.#path);
  }

  #closed = false;

  /**
   * The next connection. `undefined` if none comes any more: the source has closed `first`, and with it
   * all that it had.
   */
  #next(): Promise<StreamChannel>;
  #next(first: StreamChannel): Promise<StreamChannel | undefined>;
  async #next(first?: StreamChannel): Promise<StreamChannel | undefined> {
    for (;;) {
      const connection = accept(this.#socket.fd);
      if (connection !== undefined) return new StreamChannel(connection, true);
      if (first === undefined) await this.#socket.readable();
      else if (!await this.#socket.connectable(first.fd)) return undefined;
    }
  }
}

/** The one main channel among connections of which the others are multifd's. */
async function findMain(channels: readonly StreamChannel[]): Promise<StreamChannel | undefined> {
  let main: StreamChannel | undefined;
  const magics = await Promise.all(channels.map((channel) => channel.peek(4)));
  magics.forEach((bytes, i) => {
    if (bytes.length < 4) {
      throw new ChannelError("a connection was closed before it said which channel it is");
    }
    const magic = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
    if (magic === MULTIFD_MAGIC) return;
    if (magic !== MAIN_MAGIC) throw new ChannelError(`unknown channel magic: ${magic}`);
    if (main !== undefined) throw new ChannelError("two connections are the main channel");
    main = channels[i];
  });
  return main;
}

function removeSocketFile(path: string): void {
  try {
    unlink(path);
  } catch (error) {
    // Somebody else has removed it.
    if (!(error instanceof SystemError && error.errno === Errno.ENOENT)) throw error;
  }
}
