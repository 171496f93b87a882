/**
 * cpr-transfer's first channel, a unix socket, through which descriptors go over:
 *
 *   source                                             destination
 *                                                      listens
 *   connects, sends the CPR state, each entry's
 *   descriptor as SCM_RIGHTS; ends its sending    ->
 *                                                      builds the machine over the same memory,
 *                                                      listens on the main channel
 *                                                 <-   closes the connection
 *   stops the guest, goes on with the main channel
 *
 * The guest runs at the source all the time. Whatever ends the connection before, or is wrong with the
 * state, leaves both sides as they were.
 */
import type { ChannelAddress } from "../../channel/address.ts";
import { ChannelError } from "../../channel/channel.ts";
import type { ListeningAddress } from "../../channel/incoming.ts";
import { unlessAborted } from "../../channel/outgoing.ts";
import { type GivenDescriptors, takeDescriptor } from "../../channel/path.ts";
import { ChannelCancelled, ChannelDescriptor, isBrokenChannel } from "../../native/channel.ts";
import { Descriptor } from "../../native/descriptor.ts";
import { Errno, SystemError } from "../../native/errors.ts";
import { unlink } from "../../native/file.ts";
import {
  accept,
  boundAddress,
  connect,
  endSending,
  isListening,
  listen,
  peerProcess,
  receive,
  send,
} from "../../native/socket.ts";
import { MigrationError } from "../errors.ts";
import { within } from "../limits.ts";
import { InheritedDescriptors, type KeptDescriptor } from "./descriptors.ts";
import { cprTransferState, decodeCprState, encodeCprState } from "./state_description.ts";

/** A live update's state is a list of names: far below this many bytes. */
const STATE_LIMIT = 1 << 20;
/** u32 magic, u32 version. */
const HEADER_SIZE = 8;

/**
 * Hands `kept` to the destination that listens at `address`, and waits until it has built its machine.
 * Throws ChannelCancelled soon after `signal` was aborted.
 */
export async function handOverDescriptors(
  address: ChannelAddress,
  kept: readonly KeptDescriptor[],
  signal: AbortSignal,
): Promise<void> {
  if (address.kind !== "unix") throw new MigrationError("bad cpr channel address; must be unix");
  const connection = await unlessAborted(connect(address, signal), signal);
  await handOverOn(new ChannelDescriptor(connection), kept, signal);
}

/** As handOverDescriptors, on a connection that is there, which is closed at the end. */
export async function handOverOn(
  connection: ChannelDescriptor,
  kept: readonly KeptDescriptor[],
  signal: AbortSignal,
): Promise<void> {
  using socket = connection;
  const cancel = () => socket.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    if (signal.aborted) throw new ChannelCancelled();
    await sendState(socket, kept);
    endSending(socket.fd);
    await awaitClose(socket);
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

/** Sends each descriptor with the byte that stands for it, in a message of its own, as QEMU does. */
async function sendState(
  socket: ChannelDescriptor,
  kept: readonly KeptDescriptor[],
): Promise<void> {
  const fds = kept.map(({ name, id }) => ({ name, id }));
  const bytes = encodeCprState(cprTransferState, { fds, vfioDevices: [] });
  let sent = 0;
  let entryEnd = HEADER_SIZE;
  for (const { name, fd } of kept) {
    // u8 that an entry follows, u32 length, name and NUL, i32 id, the descriptor's byte.
    entryEnd += 1 + 4 + name.length + 1 + 4 + 1;
    await socket.write(bytes.subarray(sent, entryEnd - 1));
    while (send(socket.fd, bytes.subarray(entryEnd - 1, entryEnd), [fd]) === undefined) {
      await socket.writable();
    }
    sent = entryEnd;
  }
  await socket.write(bytes.subarray(sent));
}

/** Waits for the end of the connection. Nothing comes before it. */
async function awaitClose(socket: ChannelDescriptor): Promise<void> {
  try {
    if (await socket.read(new Uint8Array(1)) === 0) return;
  } catch (error) {
    if (!isBrokenChannel(error)) throw error;
    throw new MigrationError("the destination did not take the CPR state", { cause: error });
  }
  throw new MigrationError("the destination answered on the cpr channel");
}

/** A handed-over state. Disposing it lets the source go on; what nobody took is closed. */
export class Handover implements Disposable {
  readonly descriptors: InheritedDescriptors;
  /** The source's process, readable when it has ended; `undefined` if the system does not say. */
  readonly process: ChannelDescriptor | undefined;
  readonly #connection: ChannelDescriptor;

  constructor(connection: ChannelDescriptor, descriptors: InheritedDescriptors) {
    const process = peerProcess(connection.fd);
    this.process = process && new ChannelDescriptor(process);
    this.#connection = connection;
    this.descriptors = descriptors;
  }

  /** Resolves when the source has given up. Rejects once this is disposed. */
  async sourceGone(): Promise<void> {
    await this.#connection.hungUp();
  }

  /** Lets the source go on, and closes what nobody took. */
  taken(): void {
    this.descriptors[Symbol.dispose]();
    this.#connection[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.taken();
    this.process?.[Symbol.dispose]();
  }
}

/** The destination's end: listens for sources until it is disposed. */
export class HandoverListener implements Disposable {
  readonly addresses: readonly ListeningAddress[];
  readonly #socket: ChannelDescriptor;
  readonly #path: string | undefined;

  private constructor(socket: Descriptor, path: string | undefined) {
    using undo = new DisposableStack();
    undo.use(socket);
    undo.defer(() => this.#removeSocketFile());
    this.#path = path;
    const bound = boundAddress(socket.fd);
    this.addresses = bound.kind === "unix" ? [{ type: "unix", path: bound.path }] : [];
    this.#socket = new ChannelDescriptor(socket);
    undo.move();
  }

  /** Listens at a unix address, or on a descriptor that listens already. */
  static async listen(address: ChannelAddress, given: GivenDescriptors): Promise<HandoverListener> {
    switch (address.kind) {
      case "unix":
        return new HandoverListener(
          await listen(address),
          address.abstract ? undefined : address.path,
        );
      case "descriptor": {
        const descriptor = takeDescriptor(address.name, given);
        if (isListening(descriptor.fd)) return new HandoverListener(descriptor, undefined);
        descriptor[Symbol.dispose]();
        throw new ChannelError(`File descriptor '${address.name}' is no listening socket`);
      }
      default:
        throw new MigrationError("bad cpr channel address; must be unix");
    }
  }

  /**
   * The next state that a source hands over, which takes no longer than `milliseconds` from its connection
   * on. Throws what is wrong with it; the listener goes on.
   */
  async accept(milliseconds: () => number): Promise<Handover> {
    return await receiveHandover(await this.#next(), milliseconds());
  }

  /** Resolves when a source waits to be accepted. */
  async pending(): Promise<void> {
    await this.#socket.readable();
  }

  /** Makes accept() fail with ChannelCancelled. */
  cancel(): void {
    this.#socket.cancel();
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
    this.#removeSocketFile();
  }

  #removeSocketFile(): void {
    if (this.#path === undefined) return;
    try {
      unlink(this.#path);
    } catch (error) {
      // Somebody else has removed it.
      if (!(error instanceof SystemError && error.errno === Errno.ENOENT)) throw error;
    }
  }

  async #next(): Promise<Descriptor> {
    for (;;) {
      const connection = accept(this.#socket.fd);
      if (connection !== undefined) return connection;
      await this.#socket.readable();
    }
  }
}

/** Reads the state that a source sends on `connection`, in that time. Takes over the connection. */
export async function receiveHandover(
  connection: Descriptor,
  milliseconds: number,
): Promise<Handover> {
  using undo = new DisposableStack();
  const socket = undo.use(new ChannelDescriptor(connection));
  const state = await within(
    milliseconds,
    receiveState(socket),
    () => new MigrationError(`the CPR state has not come within ${milliseconds} ms`),
  );
  const handover = new Handover(socket, state);
  undo.move();
  return handover;
}

/** Reads a state to the end of the connection's bytes. */
async function receiveState(connection: ChannelDescriptor): Promise<InheritedDescriptors> {
  using received = new DisposableStack();
  const descriptors: Descriptor[] = [];
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  for (;;) {
    const buffer = new Uint8Array(4096);
    const part = receive(connection.fd, buffer);
    if (part === undefined) {
      await connection.readable();
      continue;
    }
    for (const descriptor of part.passengers) descriptors.push(received.use(descriptor));
    if (part.length === 0) break;
    pieces.push(buffer.subarray(0, part.length));
    length += part.length;
    if (length > STATE_LIMIT) throw new MigrationError(`CPR state is longer than ${STATE_LIMIT}`);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  const { fds } = decodeCprState(cprTransferState, bytes);
  if (fds.length !== descriptors.length) {
    throw new MigrationError(
      `CPR state has ${fds.length} entries, and ${descriptors.length} descriptors came with it`,
    );
  }
  const inherited = new InheritedDescriptors(fds.map(({ name, id }, i) => {
    const descriptor = descriptors[i];
    if (descriptor === undefined) throw new MigrationError(`'${name}' has no descriptor`);
    return [name, id, descriptor] as const;
  }));
  received.move();
  return inherited;
}
