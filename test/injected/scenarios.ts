/** All scenarios. */
import type { Scenario } from "./scenario.ts";
import { executed } from "./scenarios/executed.ts";
import { movedScenarios } from "./scenarios/moved.ts";
import { start } from "./scenarios/start.ts";
import { steadyScenarios } from "./scenarios/steady.ts";

export const scenarios: readonly Scenario[] = [
  start,
  ...steadyScenarios,
  ...movedScenarios,
  executed,
];
