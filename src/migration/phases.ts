/**
 * The phases of migrations, and what each took. A log notes when a phase begins and ends and how many bytes
 * have gone by then, without allocating: the guest is paused in some of them. In a live update it lies in
 * memory that all processes of the update share (cpr/timeline.ts), so that the last one can report all.
 *
 *   source        connect - setup - precopy - answer - stop - pre-switchover - device - handover
 *   destination   load - take-over - resume
 *
 * Not every way has all of them; with memory in place the devices' state is the only thing after `stop`.
 */
import { traceEvent, traces } from "../process/trace.ts";

/** The phases, and what happens in them. The place in this list is what shared memory has: append only. */
export const phases = {
  "connect": "channels open; cpr-transfer: the destination takes the descriptors",
  "setup": "configuration, commands and the list of RAM blocks",
  "precopy": "pages, while the guest runs",
  "answer": "the destination's answer is waited for, while the guest runs",
  "stop": "vCPUs, clocks and devices stop",
  "pre-switchover": "migrate-continue is waited for",
  "device": "the remaining pages and the devices' state",
  "handover": "the destination says that it has the guest",
  "load": "the destination reads the stream",
  "take-over": "the source gives the guest up",
  "resume": "the guest runs at the destination",
} as const;

/** The name of a phase. */
export type Phase = keyof typeof phases;

const names = Object.keys(phases).filter(isPhase);

function isPhase(name: string): name is Phase {
  return Object.hasOwn(phases, name);
}

/** A phase that has ended. */
export interface PhaseRecord {
  readonly phase: Phase;
  /** The process that noted it. */
  readonly pid: number;
  /** When it began, in microseconds since the epoch. */
  readonly start: number;
  /** How long it took, in microseconds. */
  readonly time: number;
  /** Bytes of the migration's channels that were sent or read in it. */
  readonly bytes: number;
}

/**
 * The processes of an update note at the same time, each in a part of its own: the process that begins it, its
 * interim monitor, its successor.
 */
export type PhaseWriter = 0 | 1 | 2;
const WRITERS = 3;
/** Numbers of a record: phase, process, start, time, bytes. */
const RECORD = 5;
const MOST_RECORDS = 24;
/** Numbers of a part: how many records there are, and the records. */
const PART = 1 + RECORD * MOST_RECORDS;
/** The numbers that a log needs. */
export const PHASE_LOG_NUMBERS = WRITERS * PART;

/** The phases of the latest migration. */
export class PhaseLog {
  readonly #values: Float64Array<ArrayBuffer>;
  readonly #pid: number;
  #writer: PhaseWriter;
  /** The phase under way, and when and after how many bytes it began. */
  #current: number | undefined;
  #start = 0;
  #bytes = 0;
  /** Records of this process that were traced already. */
  #traced = 0;

  /** `values`, of {@linkcode PHASE_LOG_NUMBERS}, may be shared with the other processes of an update. */
  constructor(values: Float64Array<ArrayBuffer>, pid: number, writer: PhaseWriter = 0) {
    this.#values = values;
    this.#pid = pid;
    this.#writer = writer;
    this.#traced = this.#count(writer);
  }

  /** Forgets everything: another migration begins, and this process begins it. */
  clear(): void {
    this.#current = undefined;
    this.#writer = 0;
    for (let writer = 0; writer < WRITERS; writer++) this.#values[writer * PART] = 0;
    this.#traced = 0;
  }

  /** The phase under way ends and `phase` begins. `bytes`: sent or read since the migration's start. */
  begin(phase: Phase, bytes: number): void {
    const now = performance.timeOrigin * 1000 + performance.now() * 1000;
    this.#finish(now, bytes);
    this.#current = names.indexOf(phase);
    this.#start = now;
    this.#bytes = bytes;
  }

  /** The phase under way ends, and is the last one. */
  end(bytes: number): void {
    this.#finish(performance.timeOrigin * 1000 + performance.now() * 1000, bytes);
    this.#current = undefined;
  }

  /** All phases that have ended, as they began. What other processes wrote is not believed blindly. */
  get records(): PhaseRecord[] {
    return ([0, 1, 2] as const).flatMap((writer) => this.#recordsOf(writer))
      .toSorted((one, other) => one.start - other.start);
  }

  /** Traces what has ended here since this was last done (`-trace migration_phase`). */
  trace(): void {
    if (!traces("migration_phase")) return;
    const records = this.#recordsOf(this.#writer);
    for (const { phase, start, time, bytes } of records.slice(this.#traced)) {
      traceEvent("migration_phase", `${phase} time ${time} us, bytes ${bytes}`, start + time);
    }
    this.#traced = records.length;
  }

  #recordsOf(writer: PhaseWriter): PhaseRecord[] {
    const records: PhaseRecord[] = [];
    for (let index = 0; index < this.#count(writer); index++) {
      const at = writer * PART + 1 + index * RECORD;
      const [number = -1, pid = 0, start = 0, time = 0, bytes = 0] = this.#values.subarray(
        at,
        at + RECORD,
      );
      const phase = names[number];
      if (phase === undefined) continue;
      records.push({
        phase,
        pid: Math.trunc(pid),
        start: Math.round(start),
        time: Math.round(time),
        bytes: Math.trunc(bytes),
      });
    }
    return records;
  }

  #count(writer: PhaseWriter): number {
    const count = this.#values[writer * PART] ?? 0;
    return Number.isInteger(count) && count >= 0 && count <= MOST_RECORDS ? count : 0;
  }

  #finish(now: number, bytes: number): void {
    const count = this.#count(this.#writer);
    if (this.#current === undefined || count === MOST_RECORDS) return;
    const at = this.#writer * PART + 1 + count * RECORD;
    this.#values[at] = this.#current;
    this.#values[at + 1] = this.#pid;
    this.#values[at + 2] = this.#start;
    this.#values[at + 3] = now - this.#start;
    this.#values[at + 4] = Math.max(0, bytes - this.#bytes);
    this.#values[this.#writer * PART] = count + 1;
  }
}
