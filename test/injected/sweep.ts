/** Has calls fail in a scenario, one after the other, and says what came of it. */
import { errorsOf } from "./errors.ts";
import { type Call, describeCall, type Injection } from "./interposer.ts";
import { GuestLost, type Outcome, type Scenario, type Subject } from "./scenario.ts";

/** The uses of a call that are made to fail: the first to this one. */
const USES = 10;

/** A failure of a scenario's process. */
export interface PlannedInjection extends Injection {
  readonly scenario: Scenario;
  readonly process: string;
}

/** What came of it. */
export interface Result {
  readonly planned: PlannedInjection;
  readonly reached: boolean;
  /** An outcome, or what was lost. */
  readonly outcome: Outcome | GuestLost;
}

/** `start/molt: memfd_create, use 2, errno 24`. */
export function describeInjection(
  { scenario, process, call, use, errno }: PlannedInjection,
): string {
  return `${scenario.name}/${process}: ${describeCall(call)}, use ${use}, errno ${errno}`;
}

/** Subjects of one scenario: one is used again as long as nothing was lost with it. */
export class Subjects implements AsyncDisposable {
  readonly #scenario: Scenario;
  #subject: Subject | undefined;

  constructor(scenario: Scenario) {
    this.#scenario = scenario;
  }

  /** Does what the scenario is about, and counts how often `process` uses each call. */
  async count(process: string): Promise<{ readonly call: Call; readonly count: number }[]> {
    const { subject } = await this.#ready();
    const { interposer, place } = subject.target(process);
    interposer.arm(place);
    await subject.exercise();
    interposer.disarm();
    // The process may end when its guest has left.
    const uses = interposer.uses(place);
    const outcome = await subject.judge(undefined);
    if (outcome !== "running") {
      throw new Error(`${this.#scenario.name}: ${outcome} without a failure`);
    }
    return uses;
  }

  /** Has one call fail. */
  async inject(planned: PlannedInjection): Promise<Result> {
    const { subject } = await this.#ready();
    const { interposer, place } = subject.target(planned.process);
    let reached = false;
    try {
      interposer.arm(place, planned);
      try {
        await subject.exercise();
      } finally {
        reached = interposer.reached;
        interposer.disarm();
      }
      const outcome = await subject.judge(planned);
      if (outcome === "internal-error") await this.#discard();
      return { planned, reached, outcome };
    } catch (error) {
      await this.#discard();
      if (!(error instanceof GuestLost)) {
        throw new Error(describeInjection(planned), { cause: error });
      }
      return { planned, reached, outcome: error };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#discard();
  }

  async #ready(): Promise<{ readonly subject: Subject }> {
    this.#subject ??= await this.#scenario.start();
    try {
      await this.#subject.prepare();
    } catch {
      // What it was left in by the failure before is no place to start from.
      await this.#discard();
      this.#subject = await this.#scenario.start();
      await this.#subject.prepare();
    }
    return { subject: this.#subject };
  }

  async #discard(): Promise<void> {
    const subject = this.#subject;
    this.#subject = undefined;
    await subject?.[Symbol.asyncDispose]();
  }
}

/** All failures for a process that uses calls so often: each use with one error, the first with each. */
export function plan(
  scenario: Scenario,
  process: string,
  counts: readonly { readonly call: Call; readonly count: number }[],
): PlannedInjection[] {
  return counts.flatMap(({ call, count }) => {
    const errors = errorsOf(call);
    if (errors.length === 0) return [];
    const first = errors.map((errno) => ({ scenario, process, call, use: 1, errno }));
    const further = Array.from({ length: Math.min(count, USES) - 1 }, (_, i) => ({
      ...{ scenario, process, call },
      use: i + 2,
      errno: errors[(i + 1) % errors.length] ?? 0,
    }));
    return [...first, ...further];
  });
}

/** One line for each call of each process: how many failures were reached, and what came of them. */
export function formatTable(results: readonly Result[]): string {
  const rows = Map.groupBy(
    results,
    ({ planned: { scenario, process, call } }) =>
      `${`${scenario.name}/${process}`.padEnd(24)} ${describeCall(call).padEnd(34)}`,
  );
  return [...rows].map(([row, results]) => {
    const reached = results.filter(({ reached }) => reached);
    const kinds = Map.groupBy(
      reached,
      ({ outcome }) => outcome instanceof GuestLost ? "LOST" : outcome,
    );
    const outcomes = [...kinds].map(([kind, { length }]) => `${kind} ${length}`).join(", ");
    return `${row} reached ${reached.length} of ${results.length}: ${outcomes}`;
  }).join("\n");
}

/** One line: the calls that `process` uses less often than failures of them are wanted, and how often. */
export function formatUnused(
  { name }: Scenario,
  process: string,
  counts: readonly { readonly call: Call; readonly count: number }[],
): string {
  const few = counts.filter(({ count }) => count < USES);
  const texts = few.map(({ call, count }) => `${describeCall(call)} ${count}`);
  return `${name}/${process}: used less than ${USES} times: ${texts.join(", ")}`;
}

/** What was lost, a paragraph each. */
export function formatLosses(results: readonly Result[]): string {
  return results.flatMap(({ planned, reached, outcome }) =>
    outcome instanceof GuestLost
      ? [`${describeInjection(planned)}${reached ? "" : " (not reached)"}:\n    ${outcome.message}`]
      : []
  ).join("\n");
}
