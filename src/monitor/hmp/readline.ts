/**
 * Line editing for a terminal, or for a program that sends lines: what is typed is echoed, the
 * cursor moves, earlier lines come back, Tab completes.
 *
 *   plain -> ESC -> [ or O -> digits and ; -> a letter or ~ -> plain
 */
import type { SavedLine } from "../saved_session.ts";

/** Lines remembered. */
const HISTORY_LIMIT = 64;
/** Characters in a line. */
const LINE_LIMIT = 4095;

const ESCAPE = "\x1b";

/** Where an editor's output goes, and who gets its lines. */
export interface ReadlineHandler {
  print(text: string): void;
  /** A finished line, without its end. */
  line(text: string): void;
  /** Words that could follow `text`, which ends at the cursor. */
  complete(text: string): readonly string[];
}

/** Edits one line after the other. */
export class Readline {
  readonly #handler: ReadlineHandler;
  readonly #prompt: string;
  readonly #history: string[] = [];
  #text = "";
  #cursor = 0;
  /** The line in the history that is shown; its length: the new line. */
  #recalled = 0;
  #new = "";
  /** The escape sequence being received, after ESC. */
  #sequence: string | undefined;
  #afterReturn = false;

  constructor(prompt: string, handler: ReadlineHandler) {
    this.#prompt = prompt;
    this.#handler = handler;
  }

  /** What a successor needs to go on with the line. */
  save(): SavedLine {
    return {
      text: this.#text,
      cursor: this.#cursor,
      history: [...this.#history],
      recalled: this.#recalled,
      new: this.#new,
      sequence: this.#sequence ?? null,
      afterReturn: this.#afterReturn,
    };
  }

  /** Goes on with the line of a predecessor, which the user sees already. */
  restore(state: SavedLine): void {
    this.#history.splice(0, Infinity, ...state.history.slice(-HISTORY_LIMIT));
    this.#recalled = Math.min(state.recalled, this.#history.length);
    this.#text = state.text.slice(0, LINE_LIMIT);
    this.#cursor = Math.min(state.cursor, this.#text.length);
    this.#new = state.new;
    this.#sequence = state.sequence ?? undefined;
    this.#afterReturn = state.afterReturn;
  }

  /** Begins a line: forgets what was typed, and shows the prompt. */
  start(): void {
    this.#text = "";
    this.#cursor = 0;
    this.#recalled = this.#history.length;
    this.#sequence = undefined;
    this.#handler.print(this.#prompt);
  }

  /** Shows the prompt and the line as it is, after other output. */
  redraw(): void {
    this.#handler.print(this.#prompt + this.#text);
    this.#left(this.#text.length - this.#cursor);
  }

  /** Takes one typed character. */
  type(character: string): void {
    const afterReturn = this.#afterReturn;
    this.#afterReturn = character === "\r";
    if (this.#sequence !== undefined) return this.#escape(this.#sequence + character);
    switch (character) {
      case "\r":
        return this.#finish();
      case "\n":
        // The second half of CR LF.
        return afterReturn ? undefined : this.#finish();
      case "\t":
        return this.#complete();
      case ESCAPE:
        this.#sequence = "";
        return;
      case "\x01":
        return this.#move(0);
      case "\x05":
        return this.#move(this.#text.length);
      case "\x04":
        return this.#deleteAt(this.#cursor);
      case "\x08":
      case "\x7f":
        return this.#deleteAt(this.#cursor - 1);
      case "\x0b":
        return this.#show(this.#text.slice(0, this.#cursor), this.#cursor);
      case "\x0e":
        return this.#recall(this.#recalled + 1);
      case "\x10":
        return this.#recall(this.#recalled - 1);
      case "\x15":
        return this.#show(this.#text.slice(this.#cursor), 0);
      case "\x17":
        return this.#deleteWord();
    }
    if (character >= " ") this.#insert(character);
  }

  #insert(text: string): void {
    if (this.#text.length + text.length > LINE_LIMIT) return;
    if (this.#cursor === this.#text.length) {
      this.#text += text;
      this.#cursor = this.#text.length;
      return this.#handler.print(text);
    }
    const before = this.#text.slice(0, this.#cursor) + text;
    this.#show(before + this.#text.slice(this.#cursor), before.length);
  }

  #deleteAt(index: number): void {
    if (index < 0 || index >= this.#text.length) return;
    this.#show(this.#text.slice(0, index) + this.#text.slice(index + 1), index);
  }

  #deleteWord(): void {
    const before = this.#text.slice(0, this.#cursor).replace(/\S*\s*$/, "");
    this.#show(before + this.#text.slice(this.#cursor), before.length);
  }

  /** Replaces the line on the screen: back to its start, the new one, clear the rest. */
  #show(text: string, cursor: number): void {
    this.#left(this.#cursor);
    this.#text = text;
    this.#cursor = cursor;
    this.#handler.print(`${text}\x1b[K`);
    this.#left(text.length - cursor);
  }

  #move(cursor: number): void {
    const distance = cursor - this.#cursor;
    this.#cursor = cursor;
    if (distance > 0) this.#handler.print("\x1b[C".repeat(distance));
    else this.#left(-distance);
  }

  #left(count: number): void {
    if (count > 0) this.#handler.print("\x1b[D".repeat(count));
  }

  #finish(): void {
    const line = this.#text;
    if (line.trim() !== "") {
      const index = this.#history.indexOf(line);
      if (index >= 0) this.#history.splice(index, 1);
      this.#history.push(line);
      if (this.#history.length > HISTORY_LIMIT) this.#history.shift();
    }
    this.#text = "";
    this.#cursor = 0;
    this.#recalled = this.#history.length;
    this.#handler.print("\n");
    this.#handler.line(line);
  }

  #recall(index: number): void {
    if (index < 0 || index > this.#history.length) return;
    if (this.#recalled === this.#history.length) this.#new = this.#text;
    this.#recalled = index;
    const line = this.#history[index] ?? this.#new;
    this.#show(line, line.length);
  }

  #escape(sequence: string): void {
    this.#sequence = undefined;
    if (sequence === "[" || sequence === "O" || /^\[[0-9;]{1,8}$/.test(sequence)) {
      this.#sequence = sequence;
      return;
    }
    switch (sequence.slice(1)) {
      case "A":
        return this.#recall(this.#recalled - 1);
      case "B":
        return this.#recall(this.#recalled + 1);
      case "C":
        return this.#move(Math.min(this.#cursor + 1, this.#text.length));
      case "D":
        return this.#move(Math.max(this.#cursor - 1, 0));
      case "H":
      case "1~":
        return this.#move(0);
      case "F":
      case "4~":
        return this.#move(this.#text.length);
      case "3~":
        return this.#deleteAt(this.#cursor);
    }
  }

  #complete(): void {
    const before = this.#text.slice(0, this.#cursor);
    const word = /\S*$/.exec(before)?.[0] ?? "";
    const found = this.#handler.complete(before);
    const [first] = found;
    if (first === undefined) return;
    if (found.length === 1) return this.#insert(`${first.slice(word.length)} `);
    let common = first;
    for (const candidate of found) {
      while (!candidate.startsWith(common)) common = common.slice(0, -1);
    }
    if (common.length > word.length) this.#insert(common.slice(word.length));
    const width = Math.max(...found.map((candidate) => candidate.length)) + 2;
    const columns = Math.max(1, Math.floor(80 / width));
    let text = "\n";
    for (let i = 0; i < found.length; i += columns) {
      const row = found.slice(i, i + columns).map((candidate) => candidate.padEnd(width));
      text += `${row.join("").trimEnd()}\n`;
    }
    this.#handler.print(text);
    this.redraw();
  }
}
