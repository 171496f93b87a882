/** The QMP session itself. */
import { z } from "zod";
import { defineCommand } from "../command.ts";
import { struct } from "../types.ts";

export const sessionCommands = [
  defineCommand({
    name: "qmp_capabilities",
    arguments: struct({ enable: z.array(z.enum(["oob"])).optional() }),
    run: (_context, { enable }, invocation) => invocation.negotiate(enable ?? []),
  }),
];
