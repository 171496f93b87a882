/**
 * When the TCP connections of a migration break if the peer is silent: parameters say
 * so, and an address that says something else about keep-alive counts more. Values are those of tcp(7).
 */
import type { ChannelAddress } from "../channel/address.ts";
import type { Fd } from "../native/descriptor.ts";
import { limitTcp, type TcpLimits } from "../native/socket.ts";
import type { MigrationParameters } from "./parameters.ts";

/** Has a channel's connection break in time, if it is one that can be silent. Returns the channel. */
export function limitSilence<Channel extends { readonly fd: Fd }>(
  channel: Channel,
  address: ChannelAddress | undefined,
  parameters: MigrationParameters,
): Channel {
  const given = address?.kind === "inet" ? address.keepAlive : undefined;
  const idle = given?.idle ?? parameters["x-keep-alive-idle"];
  const on = given?.on ?? idle > 0;
  const keepAlive: TcpLimits["keepAlive"] = on
    ? {
      idle: Math.max(1, idle),
      interval: given?.interval ?? parameters["x-keep-alive-interval"],
      count: given?.count ?? parameters["x-keep-alive-count"],
    }
    : undefined;
  limitTcp(channel.fd, { userTimeout: parameters["x-tcp-user-timeout"], keepAlive });
  return channel;
}
