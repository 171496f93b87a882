/**
 * yank: cuts connections whose other side hangs (qapi/yank.json). Both commands can be executed out of
 * band, past a command that waits for such a connection.
 */
import { yankInstance } from "../../qapi/migration.ts";
import { commandArguments as taken } from "../../qapi/arguments.ts";
import * as z from "zod";
import { SocketChardev } from "../../backends/socket.ts";
import { defineCommand } from "../command.ts";
import type { MonitorContext } from "../context.ts";
import { CommandError } from "../errors.ts";
import { empty } from "../../qapi/types.ts";

type YankInstance = z.output<typeof yankInstance>;

/** What cuts the instance's connections. Throws if there is no such instance. */
function yankOf({ chardevs, migration }: MonitorContext, instance: YankInstance): () => void {
  switch (instance.type) {
    case "chardev": {
      const chardev = chardevs.find(instance.id);
      if (chardev instanceof SocketChardev) return () => chardev.disconnect();
      break;
    }
    case "migration":
      if (migration.yankable) return () => migration.yank();
      break;
    case "block-node":
      break;
  }
  throw new CommandError("Instance not found", "DeviceNotFound");
}

export const yankCommands = [
  defineCommand({
    name: "query-yank",
    oob: true,
    arguments: empty,
    returns: z.array(yankInstance),
    run: ({ chardevs, migration }) => [
      ...chardevs.list().filter(({ label }) => chardevs.find(label) instanceof SocketChardev)
        .map(({ label }) => ({ type: "chardev" as const, id: label })),
      ...(migration.yankable ? [{ type: "migration" as const }] : []),
    ],
  }),
  defineCommand({
    name: "yank",
    oob: true,
    arguments: taken.yank,
    run: (context, { instances }) => {
      // All of them are found before one is cut.
      const yanks = instances.map((instance) => yankOf(context, instance));
      for (const yank of yanks) yank();
    },
  }),
];
