/** What monitor commands need of the rest of molt, one small interface per subject. */
import type { RunState } from "../machine/run_state.ts";
import type { ChardevInfo } from "../backends/chardevs.ts";

/** The machine as a whole: whether it runs. */
export interface MachineControl {
  status(): { status: RunState; running: boolean };
  /** Stops the guest; nothing happens to one that is stopped. */
  stop(): void;
  /**
   * Runs the guest, or, where an incoming migration is awaited, has it run after that. Throws where
   * the run state does not allow it.
   */
  cont(): void;
  reset(): void;
  /** Presses the power button. */
  powerDown(): void;
  /** Wakes a suspended guest. Throws if the machine knows no suspend. */
  wakeUp(): void;
  /** Ends the process, after what is under way. */
  quit(): void;
}

/** Who this machine is. */
export interface Identity {
  /** -name */
  readonly name: string | undefined;
  /** -uuid, or all zeros. */
  readonly uuid: string;
  /** This program, as query-version's `package`: `molt 0.1.0`. */
  readonly package: string;
}

/** Character devices; {@linkcode Chardevs} is this. */
export interface ChardevControl {
  list(): readonly ChardevInfo[];
}

/** Everything that commands act on. */
export interface MonitorContext {
  readonly machine: MachineControl;
  readonly identity: Identity;
  readonly chardevs: ChardevControl;
}
