/**
 * How long the guest was paused in a live update, part by part. The moments are kept in a page of
 * memory that all processes of an update share, as wall-clock microseconds: the one clock that they all
 * read the same way.
 *
 *   without an interim monitor   stop begins - stopped - saved - executing | program starts -
 *                                program loaded - machine built - state loaded - running
 *   with one                     stop begins - stopped - interim monitor loaded -
 *                                interim monitor running: the guest runs on; executing | program starts -
 *                                program loaded - machine built; return begins - return stopped -
 *                                state loaded - running
 *   on standby                   stop begins - stopped - saved - executing | program starts -
 *                                program loaded - interim monitor loaded - interim monitor running: the guest
 *                                runs on; machine built; return begins - return stopped - ... as above
 */
import type { Descriptor } from "../../native/descriptor.ts";
import { createMemfd } from "../../native/file.ts";
import { Mapping } from "../../native/mapping.ts";
import { processId } from "../../native/process.ts";
import { programStart } from "../../program_start.ts";
import { PHASE_LOG_NUMBERS, PhaseLog } from "../phases.ts";
import type { InheritedDescriptors, KeptDescriptor } from "./descriptors.ts";

const TIMELINE_NAME = "molt.timeline";
const SIZE = 4096;
/** Where the phases lie (phases.ts), in bytes from the beginning. */
const PHASES = 1024;

const moments = [
  "stop begins",
  "stopped",
  "saved",
  "interim monitor loaded",
  "interim monitor running",
  "executing",
  "program starts",
  "program loaded",
  "machine built",
  "return begins",
  "return stopped",
  "state loaded",
  "running",
] as const;

/** A moment of a live update. */
export type Moment = typeof moments[number];

/** What an interim monitor's own moments are called in the whole. */
const interimMoments: Readonly<Partial<Record<Moment, Moment>>> = {
  "stop begins": "return begins",
  "stopped": "return stopped",
  "state loaded": "interim monitor loaded",
  "running": "interim monitor running",
};

/** How long the guest was paused, and what that and the time between was made of. Microseconds. */
export interface UpdateAccount {
  /** Each pause of the guest. */
  readonly pauses: readonly number[];
  readonly parts: Readonly<Record<string, number>>;
}

/** The update that this process came from or is going through. */
export class Timeline implements Disposable {
  readonly #descriptor: Descriptor;
  readonly #memory: Mapping;
  /** The phases of the latest migration, in all processes of an update. */
  readonly phases: PhaseLog;
  /** The generation, then the moments. */
  readonly #values: Float64Array<ArrayBuffer>;
  #role: "monitor" | "interim";
  #generation: number;
  /** A process before this one has written here. */
  readonly #inherited: boolean;

  /** Takes over what the process before this one left, if it left something. */
  constructor(inherited: InheritedDescriptors | undefined, role: "monitor" | "interim") {
    using undo = new DisposableStack();
    const left = inherited?.take(TIMELINE_NAME);
    this.#descriptor = undo.use(left ?? createMemfd(TIMELINE_NAME, SIZE));
    this.#memory = undo.use(
      new Mapping(
        { kind: "file", fd: this.#descriptor.fd, offset: 0, shared: true },
        SIZE,
        "times",
      ),
    );
    this.#values = new Float64Array(this.#memory.bytes.buffer, 0, 1 + moments.length);
    this.phases = new PhaseLog(
      new Float64Array(this.#memory.bytes.buffer, PHASES, PHASE_LOG_NUMBERS),
      processId(),
      role === "interim" ? 1 : left === undefined ? 0 : 2,
    );
    this.#role = role;
    this.#inherited = left !== undefined;
    const updated = left !== undefined && role === "monitor";
    this.#generation = (this.#values[0] ?? 0) + (updated ? 1 : 0);
    if (updated) this.#set("program starts", programStart);
    undo.move();
  }

  /** Live updates since the guest started. */
  get generation(): number {
    return this.#generation;
  }

  /** The guest came by live update from a process that had seen `generation` of them. */
  follow(generation: unknown): void {
    if (!Number.isSafeInteger(generation)) return;
    this.#generation = Number(generation) + 1;
    this.#values[0] = this.#generation;
  }

  /** An interim monitor is the guest's monitor now. */
  becomeMonitor(): void {
    this.#role = "monitor";
  }

  /** What a successor or an interim monitor is to have. */
  get kept(): KeptDescriptor {
    return { name: TIMELINE_NAME, id: 0, fd: this.#descriptor.fd };
  }

  /** The guest is moved away: the phases are that migration's, unless it is a part of an update. */
  outgoingBegins(): void {
    if (this.#role === "monitor") this.phases.clear();
  }

  /** The guest is loaded: the same, unless the phases of the source are here. */
  incomingBegins(): void {
    if (!this.#inherited) this.phases.clear();
  }

  /** Notes that a moment is now. */
  mark(moment: Moment): void {
    if (this.#role === "monitor" && moment === "stop begins") this.#values.fill(0, 1);
    if (moment === "running") this.#values[0] = this.#generation;
    const name = this.#role === "monitor" ? moment : interimMoments[moment];
    if (name) this.#set(name, performance.timeOrigin * 1000 + performance.now() * 1000);
  }

  /** The latest update's account; `undefined` unless this process came from one. */
  get account(): UpdateAccount | undefined {
    if (this.#get("program starts") === 0 || this.#get("running") === 0) return undefined;
    const between = (from: Moment, to: Moment) => Math.round(this.#get(to) - this.#get(from));
    const interimMonitor = this.#get("return begins") > 0;
    // On standby the guest does not run there before the successor has started.
    const standby = interimMonitor &&
      this.#get("interim monitor running") > this.#get("program starts");
    const left = interimMonitor && !standby;
    const start = {
      exec: between(left ? "interim monitor running" : "saved", "program starts"),
      start: between("program starts", "program loaded"),
      build: between("program loaded", "machine built"),
    };
    const stop = between("stop begins", "stopped");
    if (!interimMonitor) {
      return {
        pauses: [between("stop begins", "running")],
        parts: {
          stop,
          save: between("stopped", "saved"),
          ...start,
          load: between("machine built", "state loaded"),
          resume: between("state loaded", "running"),
        },
      };
    }
    return {
      pauses: [
        between("stop begins", "interim monitor running"),
        between("return begins", "running"),
      ],
      parts: {
        stop,
        // One side saves while the other one loads.
        ...(standby
          ? {
            save: between("stopped", "saved"),
            answer: between("program loaded", "interim monitor loaded"),
          }
          : { handover: between("stopped", "interim monitor loaded") }),
        "resume": between("interim monitor loaded", "interim monitor running"),
        ...start,
        "stop-back": between("return begins", "return stopped"),
        "handover-back": between("return stopped", "state loaded"),
        "resume-back": between("state loaded", "running"),
      },
    };
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
    this.#descriptor[Symbol.dispose]();
  }

  #get(moment: Moment): number {
    return this.#values[1 + moments.indexOf(moment)] ?? 0;
  }

  #set(moment: Moment, time: number): void {
    this.#values[1 + moments.indexOf(moment)] = time;
  }
}
