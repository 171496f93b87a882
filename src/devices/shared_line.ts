/** A level-triggered interrupt that several sources assert: it is high while one of them is. */
import type { InterruptLine } from "./device.ts";

/** The line, and who asserts it. */
export class SharedLine {
  readonly #line: InterruptLine;
  readonly #asserted = new Set<InterruptLine>();

  constructor(line: InterruptLine) {
    this.#line = line;
  }

  /** An input for one more source. */
  input(): InterruptLine {
    const input: InterruptLine = {
      set: (level) => {
        if (level) this.#asserted.add(input);
        else this.#asserted.delete(input);
        this.#line.set(this.#asserted.size > 0);
      },
    };
    return input;
  }
}
