/**
 * How long the guest stood still in a live update, part by part. The moments before execve travel to
 * the successor in an environment variable, with the count of updates this guest has seen:
 *
 *   stop begins - stopped - saved - executing | program starts - program loaded - machine built -
 *   state loaded - running
 *
 * Times are wall-clock microseconds: the one clock that both processes read the same way at once.
 */
import { getEnvironment, unsetEnvironment } from "../../native/process.ts";
import { programStart } from "../../program_start.ts";

/** The environment variable that carries the moments. */
export const TIMELINE_VARIABLE = "MOLT_UPDATE_TIMELINE";

const moments = [
  "stop begins",
  "stopped",
  "saved",
  "executing",
  "program starts",
  "program loaded",
  "machine built",
  "state loaded",
  "running",
] as const;

/** A moment of a live update. */
export type Moment = typeof moments[number];

/** What the guest's pause was made of, in microseconds. */
export interface UpdateParts {
  /** Parking the vCPUs and stopping the clocks. */
  readonly stop: number;
  /** Encoding the devices' state and writing the stream. */
  readonly save: number;
  /** Telling clients, execve, and the runtime's start to the program's first line. */
  readonly exec: number;
  /** Loading and compiling the program. */
  readonly start: number;
  /** Creating the machine anew over the same memory. */
  readonly build: number;
  /** Decoding the stream and setting the devices' state. */
  readonly load: number;
  readonly resume: number;
}

/** The update that this process came from or is going through. */
export class Timeline {
  readonly #times = new Map<Moment, number>();
  #generation = 0;

  /** Takes over what the process before this one left, if it left something. */
  constructor() {
    const value = getEnvironment(TIMELINE_VARIABLE);
    if (value === undefined) return;
    unsetEnvironment(TIMELINE_VARIABLE);
    const [generation, ...times] = value.split(",").map(Number);
    if (generation === undefined || times.length !== 4 || !times.every(Number.isFinite)) return;
    this.#generation = generation;
    times.forEach((time, i) => this.#times.set(moments[i] ?? "stop begins", time));
    this.#times.set("program starts", programStart);
  }

  /** Live updates since the guest started. */
  get generation(): number {
    return this.#generation;
  }

  /** The guest came by live update from a process that had seen `generation` of them. */
  follow(generation: unknown): void {
    if (Number.isSafeInteger(generation)) this.#generation = Number(generation) + 1;
  }

  /** Notes that a moment is now. */
  mark(moment: Moment): void {
    if (moment === "stop begins") this.#times.clear();
    this.#times.set(moment, performance.timeOrigin * 1000 + performance.now() * 1000);
  }

  /** The variable for a successor, as `NAME=value`. */
  toEnvironment(): string {
    const times = moments.slice(0, 4).map((moment) => Math.round(this.#times.get(moment) ?? 0));
    return `${TIMELINE_VARIABLE}=${[this.generation + 1, ...times].join(",")}`;
  }

  /** The pause's parts; `undefined` unless this process came from a live update. */
  get parts(): UpdateParts | undefined {
    if (moments.some((moment) => !this.#times.has(moment))) return undefined;
    const between = (from: Moment, to: Moment) =>
      Math.round((this.#times.get(to) ?? 0) - (this.#times.get(from) ?? 0));
    return {
      stop: between("stop begins", "stopped"),
      save: between("stopped", "saved"),
      exec: between("saved", "program starts"),
      start: between("program starts", "program loaded"),
      build: between("program loaded", "machine built"),
      load: between("machine built", "state loaded"),
      resume: between("state loaded", "running"),
    };
  }
}
