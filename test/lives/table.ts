/** How often each step was met. */
import type { Step } from "./step.ts";

/** Counts steps over all lives. */
export class Tally {
  readonly #counts = new Map<string, number>();

  /** A step was taken, and the life held. */
  count(step: Step): void {
    this.#counts.set(step.name, this.of(step) + 1);
  }

  /** How often a step was taken. */
  of({ name }: Step): number {
    return this.#counts.get(name) ?? 0;
  }

  /** A line a step, failures apart. */
  format(steps: readonly Step[]): string {
    const width = Math.max(...steps.map(({ name }) => name.length));
    const rows = (kind: Step["kind"]) =>
      steps.filter((step) => step.kind === kind)
        .map((step) => `  ${step.name.padEnd(width)} ${String(this.of(step)).padStart(5)}`);
    return ["steps", ...rows("step"), "failures", ...rows("failure")].join("\n");
  }
}
