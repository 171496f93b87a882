/** The guest's memory: what it is made of, and its bytes. */
import * as z from "zod";
import { defineCommand } from "../command.ts";
import { describeRamBlocks } from "../human_readable.ts";
import { CommandError } from "../errors.ts";
import { savePhysicalMemory, saveVirtualMemory } from "../save_memory.ts";
import { empty, integer, struct, wideInteger } from "../../qapi/types.ts";

export const memoryCommands = [
  defineCommand({
    name: "query-memdev",
    arguments: empty,
    returns: z.array(struct({
      id: z.string().optional(),
      size: integer("size"),
      merge: z.boolean(),
      dump: z.boolean(),
      prealloc: z.boolean(),
      share: z.boolean(),
      reserve: z.boolean().optional(),
      "host-nodes": z.array(integer("uint16")),
      policy: z.enum(["default", "preferred", "bind", "interleave"]),
    })),
    run: ({ memory }) =>
      memory.backends().map((backend) => ({
        ...backend,
        "host-nodes": [],
        policy: "default" as const,
      })),
  }),
  defineCommand({
    name: "query-memory-size-summary",
    arguments: empty,
    returns: struct({ "base-memory": integer("size"), "plugged-memory": integer("size") }),
    run: ({ memory }) => ({ "base-memory": memory.size, "plugged-memory": 0 }),
  }),
  defineCommand({
    name: "x-query-ramblock",
    arguments: empty,
    returns: struct({ "human-readable-text": z.string() }),
    run: ({ memory }) => ({ "human-readable-text": describeRamBlocks(memory.ramBlocks()) }),
  }),
  defineCommand({
    name: "memsave",
    arguments: struct({
      "val": wideInteger("uint64"),
      "size": integer("uint64"),
      "filename": z.string(),
      "cpu-index": integer().optional(),
    }),
    run: ({ cpus, memory, descriptors }, { val, size, filename, "cpu-index": cpu = 0 }) => {
      if (!cpus.list().some(({ index }) => index === cpu)) {
        throw new CommandError("Parameter 'cpu-index' expects a CPU number");
      }
      saveVirtualMemory(memory, cpu, BigInt(val), size, filename, descriptors.openPath);
    },
  }),
  defineCommand({
    name: "pmemsave",
    arguments: struct({
      val: integer("uint64"),
      size: integer("uint64"),
      filename: z.string(),
    }),
    run: ({ memory, descriptors }, { val, size, filename }) =>
      savePhysicalMemory(memory, val, size, filename, descriptors.openPath),
  }),
];
