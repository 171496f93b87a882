/** The QMP session itself. */
import { commandArguments as taken } from "../../qapi/arguments.ts";
import { defineCommand } from "../command.ts";

export const sessionCommands = [
  defineCommand({
    name: "qmp_capabilities",
    arguments: taken.qmp_capabilities,
    run: (_context, { enable }, invocation) => invocation.negotiate(enable ?? []),
  }),
];
