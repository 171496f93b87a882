/** Opens the host's side that a -netdev describes. */
import type { NetdevConfig } from "../../configuration/network.ts";
import type { NetworkBackend } from "./backend.ts";
import { DatagramBackend } from "./datagram.ts";
import { StreamBackend, type StreamEnvironment } from "./stream.ts";
import { TapBackend } from "./tap.ts";

/** What backends need from outside. */
export type NetworkEnvironment = StreamEnvironment;

/** Opens a backend, or takes it over from the process before this one. */
export function openNetworkBackend(
  config: NetdevConfig,
  environment: NetworkEnvironment,
): Promise<NetworkBackend> {
  const { id } = config;
  switch (config.type) {
    case "tap":
      return TapBackend.open(id, config, environment);
    case "stream":
      return StreamBackend.open(id, config, environment);
    case "dgram":
      return DatagramBackend.open(id, config, environment.adopt);
  }
}
