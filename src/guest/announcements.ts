/**
 * Announces network cards: after the guest has moved, and when a monitor asks for it (announce-self).
 *
 *   start -> first round at once -> initial + n * step, at most max -> next round ... -> rounds are over
 *
 * In each round every card sends a RARP frame and asks its driver to announce itself too.
 */

/** How often and when (qapi/net.json: AnnounceParameters). Times in ms. */
export interface AnnounceParameters {
  readonly initial: number;
  readonly max: number;
  readonly rounds: number;
  readonly step: number;
}

/** Which cards, and under which name, so that the announcement can be changed or ended. */
export interface AnnounceChoice {
  /** Names of cards; all of them if absent. */
  readonly interfaces?: readonly string[] | undefined;
  readonly id?: string | undefined;
}

/** A network card. */
export interface AnnouncedCard {
  readonly name: string;
  /** It was connected anew by this process: the network does not know yet where it is. */
  readonly moved: boolean;
  announce(): void;
}

/** What the migration parameters say of announcements. */
export function announceParameters(
  parameters: Readonly<Record<`announce-${keyof AnnounceParameters}`, number>>,
): AnnounceParameters {
  return {
    initial: parameters["announce-initial"],
    max: parameters["announce-max"],
    rounds: parameters["announce-rounds"],
    step: parameters["announce-step"],
  };
}

/** The longest time that the runtime's timers take, in ms: more than three weeks. */
const LONGEST_DELAY = 2 ** 31 - 1;

/** Milliseconds from the round before which `left` remain to the next. */
export function roundDelay({ initial, max, rounds, step }: AnnounceParameters, left: number) {
  return Math.min(max, LONGEST_DELAY, Math.max(0, initial + (rounds - left - 1) * step));
}

/** The announcements of one guest: one of each name at a time. */
export class Announcements implements Disposable {
  readonly #cards: () => readonly AnnouncedCard[];
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();
  /** What begins when the guest runs. */
  #awaitsGuest: AnnounceParameters | undefined;

  constructor(cards: () => readonly AnnouncedCard[]) {
    this.#cards = cards;
  }

  /** Starts an announcement in place of one of the same name. Without rounds, that one just ends. */
  start(parameters: AnnounceParameters, { interfaces, id = "" }: AnnounceChoice = {}): void {
    const cards = this.#cards().filter(({ name }) => interfaces?.includes(name) ?? true);
    this.#begin(id, parameters, cards);
  }

  /** The guest came from elsewhere. Cards whose connections came along have nothing to announce. */
  guestArrived(parameters: AnnounceParameters, running: boolean): void {
    this.#awaitsGuest = running ? undefined : parameters;
    const moved = this.#cards().filter(({ moved }) => moved);
    if (running) this.#begin("", parameters, moved);
  }

  /** The guest runs, perhaps for the first time here. */
  guestRuns(): void {
    const parameters = this.#awaitsGuest;
    if (parameters !== undefined) this.guestArrived(parameters, true);
  }

  #begin(id: string, parameters: AnnounceParameters, cards: readonly AnnouncedCard[]): void {
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
    if (parameters.rounds > 0 && cards.length > 0) {
      this.#round(id, parameters, cards, parameters.rounds - 1);
    }
  }

  #round(
    id: string,
    parameters: AnnounceParameters,
    cards: readonly AnnouncedCard[],
    left: number,
  ): void {
    this.#timers.delete(id);
    for (const card of cards) card.announce();
    if (left === 0) return;
    const next = () => this.#round(id, parameters, cards, left - 1);
    this.#timers.set(id, setTimeout(next, roundDelay(parameters, left)));
  }

  [Symbol.dispose](): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#awaitsGuest = undefined;
  }
}
