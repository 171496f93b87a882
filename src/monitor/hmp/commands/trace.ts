/** `info trace-events`: the trace events and whether they are on, in QEMU's form. */
import { matchingEvents, traces } from "../../../process/trace.ts";
import { defineHumanCommand, type HumanCommand } from "../command.ts";

export const traceInfo: readonly HumanCommand[] = [
  defineHumanCommand({
    names: "trace-events",
    help: "show available trace-events & their state",
    parameters: {},
    run: ({ print }) => {
      for (const event of matchingEvents("*")) print(`${event} : state ${traces(event) ? 1 : 0}\n`);
    },
  }),
];
