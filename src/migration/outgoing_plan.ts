/** What decides how a machine is moved. */
import type { ChannelAddress } from "../channel/address.ts";
import type { OutgoingChannel } from "../channel/channel.ts";
import type { CapabilitySet } from "./capabilities.ts";
import type { Ownership } from "./cpr/ownership.ts";
import type { MigrationMode, MigrationParameters } from "./parameters.ts";
import type { StreamProperties } from "./properties.ts";

/** What a migration is to do. */
export interface OutgoingPlan {
  readonly mode: MigrationMode;
  /** Absent: cpr-exec leaves the guest with an interim monitor meanwhile. */
  readonly main: ChannelAddress | undefined;
  /** A channel that is open already, in place of an address. */
  readonly channel?: OutgoingChannel;
  /** With such a channel: the ownership flag. */
  readonly ownership?: Ownership;
  /** Where cpr-transfer hands over descriptors. */
  readonly cpr: ChannelAddress | undefined;
  readonly capabilities: CapabilitySet;
  readonly stream: StreamProperties;
  /** The parameters now: some may change while the migration runs. */
  readonly parameters: () => MigrationParameters;
}
