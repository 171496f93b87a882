/** The deck that lives are drawn from. A new step is one object in one of these lists. */
import type { Step } from "../step.ts";
import { clients } from "./clients.ts";
import { control } from "./control.ts";
import { failedExecs } from "./failed_execs.ts";
import { failedMoves } from "./failed_moves.ts";
import { modes } from "./modes.ts";
import { tasks } from "./tasks.ts";

/** Every step. */
export const allSteps: readonly Step[] = [
  ...control,
  ...clients,
  ...tasks,
  ...modes,
  ...failedExecs,
  ...failedMoves,
];
