/** The source's side: an address becomes a channel to write to. */
import { ChannelCancelled } from "../native/channel.ts";
import type { Descriptor } from "../native/descriptor.ts";
import { status } from "../native/file.ts";
import { connect } from "../native/socket.ts";
import { type ChannelAddress, socketAddress } from "./address.ts";
import { ChannelError, type OutgoingChannel } from "./channel.ts";
import { OutgoingCommand } from "./command.ts";
import { OutgoingFile } from "./file.ts";
import type { GivenDescriptors } from "./path.ts";
import { StreamChannel } from "./stream.ts";

/**
 * Opens a channel. Files, programs and descriptors are opened before it returns, and what is wrong
 * with them is thrown; sockets connect later, until `signal` aborts that. Several channels of one
 * migration are opened one by one.
 */
export function openOutgoing(
  address: ChannelAddress,
  given: GivenDescriptors,
  signal?: AbortSignal,
): OutgoingChannel | Promise<OutgoingChannel> {
  switch (address.kind) {
    case "file":
      return OutgoingFile.create(address.path, address.offset, given.openPath);
    case "exec":
      return OutgoingCommand.start(address.command);
    case "descriptor": {
      const descriptor = given.takeNamed(address.name);
      if (descriptor === undefined) {
        throw new ChannelError(`File descriptor named '${address.name}' has not been found`);
      }
      return openDescriptor(descriptor);
    }
    case "unix":
    case "inet":
      return connectTo(address, signal);
  }
}

/** A socket or pipe that somebody else opened, now the channel's. */
export function openDescriptor(descriptor: Descriptor): StreamChannel {
  const { kind } = status(descriptor.fd);
  if (kind !== "socket" && kind !== "pipe") {
    descriptor[Symbol.dispose]();
    throw new ChannelError("fd: migration to a file is not supported. Use file: instead.");
  }
  return new StreamChannel(descriptor, kind === "socket");
}

async function connectTo(
  address: Extract<ChannelAddress, { kind: "unix" | "inet" }>,
  signal: AbortSignal | undefined,
): Promise<OutgoingChannel> {
  if (address.kind === "inet" && address.host === "") {
    throw new ChannelError(
      `address resolution failed for :${address.port}: Name or service not known`,
    );
  }
  const connected = connect(socketAddress(address), signal).then((socket) =>
    new StreamChannel(socket, true)
  );
  return signal === undefined ? connected : await unlessAborted(connected, signal);
}

/** The promised channel, or ChannelCancelled; a channel that comes after that is closed. */
export function unlessAborted<T extends Disposable>(
  promise: Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(new ChannelCancelled());
    signal.addEventListener("abort", abort, { once: true });
    promise.then((value) => {
      signal.removeEventListener("abort", abort);
      if (!signal.aborted) return resolve(value);
      value[Symbol.dispose]();
      abort();
    }, reject);
    if (signal.aborted) abort();
  });
}
