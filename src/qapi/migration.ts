/** Types of QEMU's qapi/migration.json, sockets.json and yank.json that arguments and results have. */
import * as z from "zod";
import { migrationCapabilities } from "./names.ts";
import { integer, struct } from "./types.ts";

/** qapi/migration.json: MigrationCapabilityStatus. */
export const capabilityState = struct({
  capability: z.enum(migrationCapabilities),
  state: z.boolean(),
});

const inetAddress = struct({
  "type": z.literal("inet"),
  "host": z.string(),
  "port": z.string(),
  "numeric": z.boolean().optional(),
  "to": integer("uint16").optional(),
  "ipv4": z.boolean().optional(),
  "ipv6": z.boolean().optional(),
  "keep-alive": z.boolean().optional(),
  "keep-alive-idle": integer("uint32").optional(),
  "keep-alive-interval": integer("uint32").optional(),
  "keep-alive-count": integer("uint32").optional(),
});
const unixAddress = struct({
  type: z.literal("unix"),
  path: z.string(),
  abstract: z.boolean().optional(),
  tight: z.boolean().optional(),
});
const descriptorAddress = struct({ type: z.literal("fd"), str: z.string() });
/** qapi/sockets.json: SocketAddress, as far as it is known here. */
export const socketAddress = z.discriminatedUnion("type", [
  inetAddress,
  unixAddress,
  descriptorAddress,
]);

/** qapi/migration.json: MigrationAddress. */
const address = z.discriminatedUnion("transport", [
  z.discriminatedUnion("type", [
    inetAddress.extend({ transport: z.literal("socket") }),
    unixAddress.extend({ transport: z.literal("socket") }),
    descriptorAddress.extend({ transport: z.literal("socket") }),
  ]),
  struct({ transport: z.literal("exec"), args: z.array(z.string()) }),
  struct({ transport: z.literal("file"), filename: z.string(), offset: integer("size") }),
]);

/** qapi/migration.json: MigrationChannel. */
export const channel = struct({ "channel-type": z.enum(["main", "cpr"]), "addr": address });

/** qapi/yank.json: YankInstance, what has connections that can be cut. No block node here has one. */
export const yankInstance = z.discriminatedUnion("type", [
  struct({ type: z.literal("block-node"), "node-name": z.string() }),
  struct({ type: z.literal("chardev"), id: z.string() }),
  struct({ type: z.literal("migration") }),
]);
