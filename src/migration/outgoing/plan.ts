/** What an attempt to move the machine away is to do: where to, in which way, with what. */
import type { ChannelAddress } from "../../channel/address.ts";
import type { OutgoingChannel } from "../../channel/channel.ts";
import type { CapabilitySet } from "../capabilities.ts";
import type { Ownership } from "../cpr/ownership.ts";
import type { MigrationMode, MigrationParameters } from "../parameters.ts";
import type { StreamProperties } from "../properties.ts";

/** Where the machine goes. Each kind has a strategy of its own (strategies.ts). */
export type Route =
  /** A stream with all of the machine, to a destination or into a file. */
  | {
    readonly kind: "stream";
    readonly mode: "normal" | "cpr-reboot";
    readonly main: ChannelAddress;
  }
  /** cpr-exec; `main` is where the `uri` leads (exec.ts says what that means). */
  | { readonly kind: "exec"; readonly main: ChannelAddress | undefined }
  /** cpr-transfer: descriptors through `cpr`, then the devices' state through `main`. */
  | { readonly kind: "transfer"; readonly main: ChannelAddress; readonly cpr: ChannelAddress }
  /** From an interim monitor to the successor, which has the descriptors. */
  | {
    readonly kind: "return";
    readonly channel: OutgoingChannel;
    readonly ownership: Ownership;
    /** Writes what goes beside the stream: the successor reads it at the stream's end. */
    readonly handingOver: () => void;
  };

/** How it goes. */
export interface OutgoingPlan {
  readonly route: Route;
  readonly capabilities: CapabilitySet;
  readonly stream: StreamProperties;
  /** The parameters now: some may change while the migration runs. */
  readonly parameters: () => MigrationParameters;
}

/** The migration mode that `route` belongs to. */
export function modeOf(route: Route): MigrationMode {
  switch (route.kind) {
    case "stream":
      return route.mode;
    case "exec":
      return "cpr-exec";
    case "transfer":
    case "return":
      return "cpr-transfer";
  }
}
