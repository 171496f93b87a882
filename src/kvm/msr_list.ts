/** struct kvm_msrs (Linux arch/x86/include/uapi/asm/kvm.h): count, padding, { index, reserved, value }. */
import { halvesOf } from "../vmstate/halves.ts";

const HEADER = 8;
const ENTRY = 16;
const VALUE = 8;

/** Model-specific registers for KVM_GET_MSRS or KVM_SET_MSRS, in order. */
export class MsrList {
  readonly #view: DataView<ArrayBuffer>;
  #length = 0;

  /** Room for `capacity` registers. */
  constructor(capacity: number) {
    this.#view = new DataView(new ArrayBuffer(HEADER + ENTRY * capacity));
  }

  /** Registers to be read. */
  static of(indices: readonly number[]): MsrList {
    const list = new MsrList(indices.length);
    for (const index of indices) list.#append(index);
    return list;
  }

  /** How many registers. */
  get length(): number {
    return this.#length;
  }

  /** The structure, for KVM. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#view.buffer, 0, HEADER + ENTRY * this.#length);
  }

  /** The same registers, to be read once more. */
  copy(): MsrList {
    const copy = new MsrList(this.#length);
    new Uint8Array(copy.#view.buffer).set(this.bytes);
    copy.#length = this.#length;
    return copy;
  }

  /** Appends a register. */
  add(index: number, value: bigint): void {
    this.#view.setBigUint64(this.#append(index) + VALUE, value, true);
  }

  /** Appends a register, with the `word`th of `words`. */
  addWord(index: number, words: BigUint64Array<ArrayBuffer>, word: number): void {
    const [halves, at] = [halvesOf(words), this.#append(index) + VALUE];
    this.#view.setInt32(at, halves[2 * word] ?? 0, true);
    this.#view.setInt32(at + 4, halves[2 * word + 1] ?? 0, true);
  }

  /** The index of the register at `place`. */
  index(place: number): number {
    return this.#view.getUint32(HEADER + ENTRY * place, true);
  }

  /** The value of the register at `place`. */
  value(place: number): bigint {
    return this.#view.getBigUint64(HEADER + ENTRY * place + VALUE, true);
  }

  /** The values of `count` registers from `place` on. */
  words(place: number, count: number): BigUint64Array<ArrayBuffer> {
    const words = new BigUint64Array(count);
    const halves = halvesOf(words);
    for (let i = 0; i < count; i++) {
      const at = HEADER + ENTRY * (place + i) + VALUE;
      halves[2 * i] = this.#view.getInt32(at, true);
      halves[2 * i + 1] = this.#view.getInt32(at + 4, true);
    }
    return words;
  }

  /** Makes room for one more and returns where it begins. */
  #append(index: number): number {
    const at = HEADER + ENTRY * this.#length++;
    this.#view.setUint32(at, index, true);
    this.#view.setUint32(0, this.#length, true);
    return at;
  }
}
