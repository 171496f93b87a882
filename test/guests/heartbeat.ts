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
  /** The next line that is not as it should be may lack one byte. */
  mayLackByte = false;
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
    // The byte between two lines.
    const second = line.indexOf("beat ", 1);
    if (second > 0 && this.mayLackByte) {
      this.mayLackByte = false;
      this.#line(line.slice(0, second));
      return this.#line(line.slice(second));
    }
    const parsed = parseBeat(line);
    if (parsed === undefined && harmlessLine.test(line)) return undefined;
    const problems = parsed
      ? this.#compare(parsed)
      : [`unexpected output: ${JSON.stringify(line)}`];
    let beat = parsed;
    if (problems.length > 0 && this.mayLackByte) {
      this.mayLackByte = false;
      beat = this.#complete(line);
    }
    if (beat === undefined || beat === parsed) this.problems.push(...problems);
    if (beat === undefined) return undefined;
    this.beats++;
    this.last = beat;
    return beat;
  }

  /** The earliest beat that a line would tell of if it had one byte more; undefined if there is none. */
  #complete(line: string): Beat | undefined {
    let found: Beat | undefined;
    for (let at = 0; at <= line.length; at++) {
      for (const byte of "0123456789abcdefghijklmnopqrstuvwxyz=, ") {
        const beat = parseBeat(line.slice(0, at) + byte + line.slice(at));
        if (beat === undefined || this.#compare(beat).length > 0) continue;
        if (found === undefined || isEarlier(beat, found)) found = beat;
      }
    }
    return found;
  }

  /** What is wrong with a beat that follows the last one. */
  #compare(beat: Beat): string[] {
    const { last } = this;
    const problems: string[] = [];
    const problem = (text: string) => problems.push(`beat ${beat.number}: ${text}`);
    if (beat.errors > (last?.errors ?? 0)) {
      problem(`the guest found ${beat.errors} errors in its memory or clocks`);
    }
    if (last === undefined) return problems;
    if (beat.number !== last.number + 1) problem(`follows beat ${last.number}`);
    if (beat.tsc <= last.tsc) problem(`TSC went from ${last.tsc} to ${beat.tsc}`);
    if (last.clock !== undefined && (beat.clock === undefined || beat.clock <= last.clock)) {
      problem(`kvmclock went from ${last.clock} to ${beat.clock ?? "none"}`);
    }
    if (beat.pages < last.pages) problem(`pages went from ${last.pages} to ${beat.pages}`);
    return problems;
  }
}

/** Whether nothing that must not decrease is more in `a` than in `b`. */
function isEarlier(a: Beat, b: Beat): boolean {
  return a.tsc <= b.tsc && (a.clock ?? 0n) <= (b.clock ?? 0n) && a.pages <= b.pages;
}
