/** The human monitor's commands for programs. */
import { commandArguments as taken } from "../../qapi/arguments.ts";
import * as z from "zod";
import { defineCommand } from "../command.ts";
import { CommandError } from "../errors.ts";
import { initialState } from "../hmp/state.ts";

/** Characters of a command line. A person's has 4095 at most. */
const LINE_LIMIT = 65536;

export const humanCommands = [
  defineCommand({
    name: "human-monitor-command",
    arguments: taken["human-monitor-command"],
    returns: z.string(),
    run: async (context, given, { takeDescriptor }) => {
      const { "command-line": line, "cpu-index": cpu } = given;
      if (cpu !== undefined && !context.cpus.list().some(({ index }) => index === cpu)) {
        throw new CommandError("Parameter 'cpu-index' expects a CPU number");
      }
      if (line.length > LINE_LIMIT) {
        throw new CommandError(`Parameter 'command-line' has more than ${LINE_LIMIT} characters`);
      }
      const { runHumanLine } = await import("../hmp/runner.ts");
      let output = "";
      await runHumanLine({
        context,
        state: { ...initialState(), cpu: cpu ?? 0 },
        print: (text) => output += text.replaceAll("\n", "\r\n"),
        takeDescriptor,
      }, line);
      return output;
    },
  }),
];
