/** Commands about disks, network cards and the balloon that the client knows by type. */
import * as z from "zod";
import { commandArguments as taken } from "../qapi/arguments.ts";

const nothing = z.strictObject({});
const done = z.looseObject({});

/** qapi/block-core.json: BlockDeviceInfo. */
const blockNode = z.looseObject({
  "node-name": z.string(),
  file: z.string(),
  drv: z.string(),
  ro: z.boolean(),
  children: z.array(z.looseObject({ child: z.string(), "node-name": z.string() })),
  cache: z.looseObject({ writeback: z.boolean(), direct: z.boolean(), "no-flush": z.boolean() }),
  image: z.looseObject({ "virtual-size": z.number() }),
});

/** Commands by name. */
export const deviceCommands = {
  "query-block": {
    arguments: nothing,
    returns: z.array(z.looseObject({
      device: z.string(),
      qdev: z.string().optional(),
      "io-status": z.enum(["ok", "failed", "nospace"]).optional(),
      inserted: blockNode.optional(),
    })),
  },
  "query-named-block-nodes": { arguments: nothing, returns: z.array(blockNode) },
  "query-blockstats": {
    arguments: nothing,
    returns: z.array(z.looseObject({
      device: z.string().optional(),
      stats: z.looseObject({
        rd_operations: z.number(),
        wr_operations: z.number(),
        wr_bytes: z.number(),
        failed_wr_operations: z.number(),
      }),
    })),
  },
  "query-rx-filter": {
    arguments: taken["query-rx-filter"],
    returns: z.array(z.looseObject({
      name: z.string(),
      promiscuous: z.boolean(),
      vlan: z.enum(["normal", "none", "all"]),
      "main-mac": z.string(),
    })),
  },
  "set_link": {
    arguments: taken.set_link,
    returns: done,
  },
  "query-balloon": { arguments: nothing, returns: z.looseObject({ actual: z.number() }) },
  "balloon": { arguments: taken.balloon, returns: done },
} as const;
