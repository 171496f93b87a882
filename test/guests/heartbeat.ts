/** Reads what the guest heartbeat.S prints and checks that it is one unbroken life. */

/** One `beat` line. */
export interface Beat {
  readonly number: number;
  readonly tsc: bigint;
  /** kvmclock in ns; undefined where the guest has none. */
  readonly clock: bigint | undefined;
  /** The largest step between two readings of the TSC since the last beat, in ns for each CPU. */
  readonly gaps: readonly number[];
  readonly passes: readonly number[];
  readonly pages: number;
  readonly errors: number;
}

const beatLine =
  /^beat (\d{6,}) tsc=([0-9a-f]{16}) clock=(none|\d+) gap=([\d,]+) passes=([\d,]+) pages=(\d+) errors=(\d+)$/;
/** Lines that say nothing about a fault: the first one, and answers to input. */
const harmlessLine = /^(heartbeat cpus=|status beats=|echo )/;

/** The beat that a line reports, or undefined if it is another line. */
export function parseBeat(line: string): Beat | undefined {
  const match = beatLine.exec(line);
  if (match === null) return undefined;
  const [, number, tsc, clock, gaps, passes, pages, errors] = match;
  const list = (text: string | undefined) => (text ?? "").split(",").map(Number);
  return {
    number: Number(number),
    tsc: BigInt(`0x${tsc}`),
    clock: clock === "none" || clock === undefined ? undefined : BigInt(clock),
    gaps: list(gaps),
    passes: list(passes),
    pages: Number(pages),
    errors: Number(errors),
  };
}

/**
 * Follows the guest's serial output. Whatever must not happen - a beat missing or twice, a clock
 * going backwards, an error that the guest reports, a line that it never prints - is a problem.
 */
export class HeartbeatCheck {
  /** One line of text each, in the order found. */
  readonly problems: string[] = [];
  /** How many beats were read. */
  beats = 0;
  last: Beat | undefined;
  #partial = "";
  #restarts = false;

  /** Takes the next piece of output, which may end anywhere, and returns the beats completed. */
  feed(output: string): Beat[] {
    const lines = (this.#partial + output).split("\n");
    this.#partial = lines.pop() ?? "";
    return lines.map((line) => this.#line(line)).filter((beat) => beat !== undefined);
  }

  /** The guest is about to be reset: when it says that it has started, its life begins anew. */
  expectRestart(): void {
    this.#restarts = true;
  }

  #line(line: string): Beat | undefined {
    if (this.#restarts && line.startsWith("heartbeat cpus=")) {
      this.#restarts = false;
      this.last = undefined;
    }
    const beat = parseBeat(line);
    if (beat !== undefined) {
      this.#compare(beat);
      this.beats++;
      this.last = beat;
    } else if (!harmlessLine.test(line)) {
      this.problems.push(`unexpected output: ${JSON.stringify(line)}`);
    }
    return beat;
  }

  #compare(beat: Beat): void {
    const { last } = this;
    const problem = (text: string) => this.problems.push(`beat ${beat.number}: ${text}`);
    if (beat.errors > (last?.errors ?? 0)) {
      problem(`the guest found ${beat.errors} errors in its memory or clocks`);
    }
    if (last === undefined) return;
    if (beat.number !== last.number + 1) problem(`follows beat ${last.number}`);
    if (beat.tsc <= last.tsc) problem(`TSC went from ${last.tsc} to ${beat.tsc}`);
    if (last.clock !== undefined && (beat.clock === undefined || beat.clock <= last.clock)) {
      problem(`kvmclock went from ${last.clock} to ${beat.clock ?? "none"}`);
    }
    if (beat.pages < last.pages) problem(`pages went from ${last.pages} to ${beat.pages}`);
  }
}
