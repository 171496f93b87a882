/** What a life is made of. */
import type { Random } from "../support/random.ts";
import type { Life } from "./life.ts";

/** Something that happens to a guest. After it the life has to be as its expectations say: see checks.ts. */
export interface Step {
  readonly name: string;
  /** A failure is something that goes wrong on purpose: the guest lives on. */
  readonly kind: "step" | "failure";
  /** How often it is in the deck that a life's steps are drawn from; 1 by default. */
  readonly copies?: number;
  /** It waits for a deadline: only in the thorough run. */
  readonly slow?: boolean;
  /** Whether it makes sense in this life now; by default always. */
  readonly possible?: (life: Life) => boolean;
  readonly run: (life: Life, random: Random) => Promise<void>;
}

/** Draws the steps of one life: each from what is left of a deck, among those that are possible then. */
export class Deck {
  readonly #left: Step[];
  readonly #random: Random;

  constructor(steps: readonly Step[], random: Random) {
    this.#left = steps.flatMap((step) => Array.from({ length: step.copies ?? 1 }, () => step));
    this.#random = random;
  }

  /** The next step; undefined if nothing that is left is possible. */
  draw(life: Life): Step | undefined {
    const possible = this.#left.filter((step) => step.possible?.(life) ?? true);
    if (possible.length === 0) return undefined;
    const step = this.#random.pick(possible);
    this.#left.splice(this.#left.indexOf(step), 1);
    return step;
  }
}
