/** Disks. */
import { z } from "zod";
import { defineCommand } from "../command.ts";
import type { BlockNodeInfo } from "../context.ts";
import { integer, struct } from "../types.ts";

/** qapi/block-core.json: BlockDeviceInfo. */
const node = struct({
  file: z.string(),
  "node-name": z.string(),
  ro: z.boolean(),
  drv: z.string(),
  backing_file_depth: integer(),
  children: z.array(struct({ child: z.string(), "node-name": z.string() })),
  active: z.boolean(),
  encrypted: z.boolean(),
  detect_zeroes: z.enum(["off", "on", "unmap"]),
  bps: integer(),
  bps_rd: integer(),
  bps_wr: integer(),
  iops: integer(),
  iops_rd: integer(),
  iops_wr: integer(),
  image: struct({
    filename: z.string(),
    format: z.string(),
    "dirty-flag": z.boolean().optional(),
    "actual-size": integer().optional(),
    "virtual-size": integer(),
  }),
  cache: struct({ writeback: z.boolean(), direct: z.boolean(), "no-flush": z.boolean() }),
  write_threshold: integer(),
});

function describeNode(info: BlockNodeInfo): z.output<typeof node> {
  return {
    file: info.filename,
    "node-name": info.nodeName,
    ro: info.readOnly,
    drv: info.driver,
    backing_file_depth: 0,
    children: info.children.map(({ name, nodeName }) => ({ child: name, "node-name": nodeName })),
    active: info.active,
    encrypted: false,
    detect_zeroes: info.detectZeroes,
    bps: 0,
    bps_rd: 0,
    bps_wr: 0,
    iops: 0,
    iops_rd: 0,
    iops_wr: 0,
    image: {
      filename: info.filename,
      format: info.driver,
      "dirty-flag": false,
      "actual-size": info.actualSize,
      "virtual-size": info.virtualSize,
    },
    cache: {
      writeback: info.cache.writeback,
      direct: info.cache.direct,
      "no-flush": info.cache.noFlush,
    },
    write_threshold: 0,
  };
}

export const blockCommands = [
  defineCommand({
    name: "query-block",
    arguments: struct({ flat: z.boolean().optional() }),
    returns: z.array(struct({
      device: z.string(),
      qdev: z.string().optional(),
      type: z.string(),
      removable: z.boolean(),
      locked: z.boolean(),
      inserted: node.optional(),
      "io-status": z.enum(["ok", "failed", "nospace"]).optional(),
    })),
    run: ({ block }) => {
      const nodes = new Map(block.nodes().map((info) => [info.nodeName, info]));
      return block.devices().map((device) => {
        const inserted = nodes.get(device.inserted ?? "");
        return {
          device: device.id,
          qdev: device.qdev,
          type: "unknown",
          removable: false,
          locked: false,
          inserted: inserted === undefined ? undefined : describeNode(inserted),
          "io-status": device.ioStatus,
        };
      });
    },
  }),
  defineCommand({
    name: "query-named-block-nodes",
    arguments: struct({ flat: z.boolean().optional() }),
    returns: z.array(node),
    run: ({ block }) => block.nodes().map(describeNode),
  }),
];
