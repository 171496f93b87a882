/** Where a guest comes from: -incoming, and the addresses of migration channels. */

/** Where the guest's state comes from, if it does not start afresh. */
export interface IncomingConfig {
  readonly main:
    /** A monitor will say. */
    | { readonly kind: "defer" }
    | { readonly kind: "uri"; readonly uri: string }
    | { readonly kind: "channel"; readonly address: MigrationAddress };
  /** The channel of the CPR state. */
  readonly cpr?: MigrationAddress;
}

/** A migration channel's address as QMP and -incoming have it. */
export type MigrationAddress =
  | { readonly transport: "socket" } & MigrationSocketAddress
  | { readonly transport: "exec"; readonly args: readonly string[] }
  | { readonly transport: "file"; readonly filename: string; readonly offset: number };

export type MigrationSocketAddress =
  | {
    readonly type: "inet";
    readonly host: string;
    readonly port: string;
    /** The highest port to try. */
    readonly to?: number | undefined;
    readonly ipv4?: boolean | undefined;
    readonly ipv6?: boolean | undefined;
    readonly numeric?: boolean | undefined;
    readonly "keep-alive"?: boolean | undefined;
    /** Seconds, seconds, and a number. */
    readonly "keep-alive-idle"?: number | undefined;
    readonly "keep-alive-interval"?: number | undefined;
    readonly "keep-alive-count"?: number | undefined;
  }
  | {
    readonly type: "unix";
    readonly path: string;
    readonly abstract?: boolean | undefined;
    readonly tight?: boolean | undefined;
  }
  | { readonly type: "fd"; readonly str: string };
