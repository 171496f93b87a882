/** The memory balloon. */
import { commandArguments as taken } from "../../qapi/arguments.ts";
import { presentBalloon } from "../balloon.ts";
import { defineCommand } from "../command.ts";
import { CommandError } from "../errors.ts";
import { empty, integer, struct } from "../../qapi/types.ts";

export const balloonCommands = [
  defineCommand({
    name: "query-balloon",
    arguments: empty,
    returns: struct({ actual: integer() }),
    run: ({ balloon }) => ({ actual: presentBalloon(balloon).actual }),
  }),
  defineCommand({
    name: "balloon",
    arguments: taken.balloon,
    run: ({ balloon }, { value }) => {
      const device = presentBalloon(balloon);
      if (value <= 0) throw new CommandError("Parameter 'target' expects a size");
      device.setTarget(Number(value));
    },
  }),
];
