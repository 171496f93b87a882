/**
 * Which of two processes that map the same guest memory has the guest: a word in memory that both map
 * too. It changes once, by an atomic exchange, so that the guest never runs in both, whoever is killed
 * or cancelled at whatever moment.
 *
 *   undecided -> taken     the destination, right before the guest starts there
 *   undecided -> kept      the source, before it lets the guest go on
 *
 * A destination that does not know the flag (QEMU) leaves it undecided. It may hand the descriptor on
 * later: the number beside the flag, which the source also sends in the stream, identifies an old one.
 */
import type { Descriptor } from "../../native/descriptor.ts";
import { createMemfd } from "../../native/file.ts";
import { Mapping } from "../../native/mapping.ts";
import { checkAdoptedSize } from "../../memory/ram_block.ts";
import type { KeptDescriptor } from "./descriptors.ts";

/** The name of the descriptor in CPR state. */
export const OWNERSHIP_NAME = "molt.ownership";
/** The name of the ownership flag for the return from an interim monitor, who is its source. */
export const RETURN_OWNERSHIP_NAME = "molt.ownership.return";

const SIZE = 4096;
const NUMBER = 0;
const WORD = 1;
const undecided = 0;
const taken = 1;
const kept = 2;

/** The word, as one of the two sees it. */
export class Ownership implements Disposable {
  readonly #descriptor: Descriptor;
  readonly #mapping: Mapping;
  readonly #words: Int32Array<ArrayBuffer>;

  private constructor(descriptor: Descriptor) {
    using undo = new DisposableStack();
    undo.use(descriptor);
    checkAdoptedSize(OWNERSHIP_NAME, descriptor, SIZE);
    const place = { kind: "file", fd: descriptor.fd, offset: 0, shared: true } as const;
    this.#descriptor = descriptor;
    this.#mapping = undo.use(new Mapping(place, SIZE, OWNERSHIP_NAME));
    this.#words = new Int32Array(this.#mapping.bytes.buffer, 0, 2);
    undo.move();
  }

  /** A source's, undecided. */
  static create(): Ownership {
    const ownership = new Ownership(createMemfd(OWNERSHIP_NAME, SIZE));
    // Apart from the values of PING that have a meaning.
    const [number = 0] = crypto.getRandomValues(new Uint32Array(1));
    ownership.#words[NUMBER] = number | 0x8000_0000;
    return ownership;
  }

  /** A destination's: takes over what the source handed over. */
  static adopt(descriptor: Descriptor): Ownership {
    return new Ownership(descriptor);
  }

  /** For a process that is to have the flag, under the name where it looks for it. */
  kept(name: string): KeptDescriptor {
    return { name, id: 0, fd: this.#descriptor.fd };
  }

  /** The u32 by which source and destination know that they mean the same word. */
  get number(): number {
    return (this.#words[NUMBER] ?? 0) >>> 0;
  }

  /** What has been decided so far. */
  get decision(): "undecided" | "taken" | "kept" {
    switch (Atomics.load(this.#words, WORD)) {
      case undecided:
        return "undecided";
      case taken:
        return "taken";
      default:
        return "kept";
    }
  }

  /** The destination takes the guest; false if the source has kept it. */
  take(): boolean {
    return this.#decide(taken);
  }

  /** The source keeps the guest; false if the destination has taken it. */
  keep(): boolean {
    return this.#decide(kept);
  }

  #decide(decision: number): boolean {
    // A word that the other side has taken away says nothing: neither may act on it.
    const before = Atomics.compareExchange(this.#words, WORD, undecided, decision);
    if (this.#mapping.lost) {
      throw new Error(
        `the memory of '${OWNERSHIP_NAME}' was taken away: who has the guest is not known`,
      );
    }
    return before === undecided || before === decision;
  }

  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
    this.#descriptor[Symbol.dispose]();
  }
}
