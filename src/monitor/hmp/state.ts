/** What a human monitor remembers from command to command. */
import type { DisplayFormat } from "./parameters.ts";

/** What a human monitor remembers from command to command. */
export interface HumanState {
  /** The vCPU that commands look at. */
  cpu: number;
  format: DisplayFormat;
}

/** A monitor's state when it begins. */
export function initialState(): HumanState {
  return { cpu: 0, format: { count: 1, format: "x", size: 4 } };
}
