/** A ring of bytes of fixed capacity, as UARTs have for either direction. */

/** The saved form: the whole ring, the index of the oldest byte and how many bytes are in it. */
export interface Fifo8State {
  data: Uint8Array;
  head: number;
  num: number;
}

/** The ring. */
export class Fifo8 {
  readonly #data: Uint8Array<ArrayBuffer>;
  #head = 0;
  #length = 0;

  constructor(readonly capacity: number) {
    this.#data = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  get isFull(): boolean {
    return this.#length === this.capacity;
  }

  /** Appends a byte. Returns false, changing nothing, if the ring is full. */
  push(byte: number): boolean {
    if (this.#length === this.capacity) return false;
    this.#data[(this.#head + this.#length) % this.capacity] = byte;
    this.#length++;
    return true;
  }

  /** Takes the oldest byte, `undefined` if there is none. */
  pop(): number | undefined {
    if (this.#length === 0) return undefined;
    const byte = this.#data[this.#head];
    this.#head = (this.#head + 1) % this.capacity;
    this.#length--;
    return byte;
  }

  clear(): void {
    this.#head = 0;
    this.#length = 0;
  }

  /** A copy of the contents, stale bytes of the ring included. */
  save(): Fifo8State {
    return { data: this.#data.slice(), head: this.#head, num: this.#length };
  }

  /** Throws, without having changed anything, if `state` does not describe a ring of this capacity. */
  load(state: Fifo8State): void {
    this.validate(state);
    this.#data.set(state.data);
    this.#head = state.head;
    this.#length = state.num;
  }

  /** Throws if {@linkcode load} would. */
  validate(state: Fifo8State): void {
    if (
      state.data.length !== this.capacity || state.head >= this.capacity ||
      state.num > this.capacity
    ) {
      throw new RangeError(
        `a FIFO of ${this.capacity} bytes cannot hold ${state.num} bytes from ${state.head} on ` +
          `(${state.data.length} stored)`,
      );
    }
  }
}
