/** Disks. */
import * as z from "zod";
import { defineCommand } from "../command.ts";
import type { BlockDeviceInfo, BlockNodeInfo } from "../context.ts";
import { integer, struct } from "../../qapi/types.ts";

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

/** qapi/block-core.json: BlockDeviceTimedStats. There are none: no intervals can be set. */
const intervalStatistics = struct({
  interval_length: integer(),
  min_rd_latency_ns: integer(),
  max_rd_latency_ns: integer(),
  avg_rd_latency_ns: integer(),
  min_wr_latency_ns: integer(),
  max_wr_latency_ns: integer(),
  avg_wr_latency_ns: integer(),
  min_zone_append_latency_ns: integer(),
  max_zone_append_latency_ns: integer(),
  avg_zone_append_latency_ns: integer(),
  min_flush_latency_ns: integer(),
  max_flush_latency_ns: integer(),
  avg_flush_latency_ns: integer(),
  avg_rd_queue_depth: z.number(),
  avg_wr_queue_depth: z.number(),
  avg_zone_append_queue_depth: z.number(),
});

/** qapi/block-core.json: BlockDeviceStats. Nothing is merged, and there are no zones. */
const statistics = struct({
  rd_bytes: integer(),
  wr_bytes: integer(),
  zone_append_bytes: integer(),
  unmap_bytes: integer(),
  rd_operations: integer(),
  wr_operations: integer(),
  zone_append_operations: integer(),
  flush_operations: integer(),
  unmap_operations: integer(),
  rd_total_time_ns: integer(),
  wr_total_time_ns: integer(),
  zone_append_total_time_ns: integer(),
  flush_total_time_ns: integer(),
  unmap_total_time_ns: integer(),
  wr_highest_offset: integer(),
  rd_merged: integer(),
  wr_merged: integer(),
  zone_append_merged: integer(),
  unmap_merged: integer(),
  failed_rd_operations: integer(),
  failed_wr_operations: integer(),
  failed_zone_append_operations: integer(),
  failed_flush_operations: integer(),
  failed_unmap_operations: integer(),
  invalid_rd_operations: integer(),
  invalid_wr_operations: integer(),
  invalid_zone_append_operations: integer(),
  invalid_flush_operations: integer(),
  invalid_unmap_operations: integer(),
  account_invalid: z.boolean(),
  account_failed: z.boolean(),
  timed_stats: z.array(intervalStatistics),
});

function describeStatistics(
  { read, write, flush, unmap }: BlockDeviceInfo["statistics"],
): z.output<typeof statistics> {
  return {
    rd_bytes: read.bytes,
    wr_bytes: write.bytes,
    zone_append_bytes: 0,
    unmap_bytes: unmap.bytes,
    rd_operations: read.operations,
    wr_operations: write.operations,
    zone_append_operations: 0,
    flush_operations: flush.operations,
    unmap_operations: unmap.operations,
    rd_total_time_ns: read.time,
    wr_total_time_ns: write.time,
    zone_append_total_time_ns: 0,
    flush_total_time_ns: flush.time,
    unmap_total_time_ns: unmap.time,
    wr_highest_offset: 0,
    rd_merged: 0,
    wr_merged: 0,
    zone_append_merged: 0,
    unmap_merged: 0,
    failed_rd_operations: read.failed,
    failed_wr_operations: write.failed,
    failed_zone_append_operations: 0,
    failed_flush_operations: flush.failed,
    failed_unmap_operations: unmap.failed,
    invalid_rd_operations: read.invalid,
    invalid_wr_operations: write.invalid,
    invalid_zone_append_operations: 0,
    invalid_flush_operations: flush.invalid,
    invalid_unmap_operations: unmap.invalid,
    account_invalid: true,
    account_failed: true,
    timed_stats: [],
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
  defineCommand({
    name: "query-blockstats",
    arguments: struct({ "query-nodes": z.boolean().optional() }),
    returns: z.array(struct({
      device: z.string().optional(),
      qdev: z.string().optional(),
      "node-name": z.string().optional(),
      stats: statistics,
    })),
    run: ({ block }) =>
      block.devices().map(({ id, qdev, inserted, statistics }) => ({
        device: id,
        qdev,
        "node-name": inserted,
        stats: describeStatistics(statistics),
      })),
  }),
];
