/**
 * What a failure is injected into, and what must be true afterwards:
 *
 *   start -> [ prepare -> arm -> exercise -> judge ] again and again, while nothing was lost -> dispose
 */
import type { Injection, Interposer } from "./interposer.ts";

/** What became of the guest. Anything else is a {@linkcode GuestLost}. */
export type Outcome =
  /** It runs, where it was or where it was to go. */
  | "running"
  /** It is stopped, and its monitor answers. */
  | "internal-error"
  /** It was stopped by an error of its disk, and went on when it was asked to. */
  | "io-error, resumed"
  /** The program did not start, said why, and left nothing behind. */
  | "not started";

/** The guest, or the way to it, is lost; or an operation on it never ends. */
export class GuestLost extends Error {
  override readonly name = "GuestLost";
}

/** One kind of situation. */
export interface Scenario {
  readonly name: string;
  /** The processes in which calls can fail. */
  readonly processes: readonly string[];
  start(): Promise<Subject>;
}

/** A guest in that situation. */
export interface Subject extends AsyncDisposable {
  /** Readies everything for one more exercise: nothing is armed yet. */
  prepare(): Promise<void>;
  /** Where failures of a process are armed: the file, and the process's place in it. */
  target(process: string): Target;
  /** Does what the scenario is about. An operation may fail; one that does not end is a GuestLost. */
  exercise(): Promise<void>;
  /** Looks at what is left. Throws a GuestLost. */
  judge(injection: Injection | undefined): Promise<Outcome>;
}

/** A process in which calls can fail. */
export interface Target {
  readonly interposer: Interposer;
  readonly place: number;
}
