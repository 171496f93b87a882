/** The log of a qtest connection, in QEMU's form: seconds since the client came, R in, S out. */

/** Where the log's text goes. */
export interface LogOutput {
  write(bytes: Uint8Array<ArrayBuffer>): void;
}

/** Writes a log, or nothing if there is no output. */
export class QtestLog {
  readonly #output: LogOutput | undefined;
  readonly #encoder = new TextEncoder();
  #openedAt = 0;

  constructor(output: LogOutput | undefined) {
    this.#output = output;
  }

  opened(): void {
    this.#openedAt = performance.now();
    this.#write("[I 0.000000] OPENED");
  }

  closed(): void {
    this.#write(`[I +${this.#elapsed()}] CLOSED`);
  }

  received(line: string): void {
    if (this.#output) this.#write(`[R +${this.#elapsed()}] ${line}`);
  }

  sent(line: string): void {
    if (this.#output) this.#write(`[S +${this.#elapsed()}] ${line}`);
  }

  #elapsed(): string {
    return ((performance.now() - this.#openedAt) / 1000).toFixed(6);
  }

  #write(line: string): void {
    this.#output?.write(new Uint8Array(this.#encoder.encode(`${line}\n`)));
  }
}
