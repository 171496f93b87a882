/** What an operator does to a guest that stays where it is. */
import type { Step } from "../step.ts";
import { ConsoleUser } from "../console_user.ts";

/** Stops, runs and resets. */
export const control: readonly Step[] = [
  {
    name: "stop",
    kind: "step",
    copies: 2,
    possible: ({ state }) => state === "running",
    run: async (life) => {
      await life.qmp(({ execute }) => execute("stop"));
      life.state = "paused";
    },
  },
  {
    name: "cont",
    kind: "step",
    copies: 3,
    possible: ({ state }) => state !== "running",
    run: async (life) => {
      await life.qmp(({ execute }) => execute("cont"));
      life.state = "running";
    },
  },
  {
    name: "system_reset",
    kind: "step",
    run: (life) =>
      life.qmp(async ({ client, execute }) => {
        await execute("stop");
        life.output.restart();
        using resets = client.events("RESET");
        await execute("system_reset");
        await resets.take();
        if (life.state === "running") await execute("cont");
        else life.state = "prelaunch";
      }),
  },
  {
    name: "reset by the guest",
    kind: "step",
    possible: ({ state }) => state === "running",
    run: (life) =>
      life.qmp(async ({ client }) => {
        await using user = await ConsoleUser.connect(life);
        using resets = client.events("RESET");
        life.output.expectRestart();
        await user.press("r");
        await resets.take();
      }),
  },
];
