/** What a device model is given in these tests: recorded interrupt lines, a clock set by hand, a character backend in memory. */
import type { CharacterBackend, CharacterFrontend } from "../../../src/backends/character.ts";
import type { InterruptLine, VirtualClock, VirtualTimer } from "../../../src/devices/device.ts";

/** An interrupt line that remembers its level and how often it rose. */
export class RecordedLine implements InterruptLine {
  level = false;
  rises = 0;

  set(level: boolean): void {
    if (level && !this.level) this.rises++;
    this.level = level;
  }
}

class ManualTimer implements VirtualTimer {
  expiry: bigint | undefined;

  constructor(readonly clock: ManualClock, readonly handler: () => void) {}

  arm(expiry: bigint): void {
    this.expiry = expiry;
  }

  disarm(): void {
    this.expiry = undefined;
  }

  [Symbol.dispose](): void {
    this.clock.timers.delete(this);
  }
}

/** A clock that is paused until it is stepped; timers fire in the order of their expiry. */
export class ManualClock implements VirtualClock {
  readonly timers = new Set<ManualTimer>();
  #now: bigint;

  constructor(now = 0n) {
    this.#now = now;
  }

  now(): bigint {
    return this.#now;
  }

  timer(handler: () => void): VirtualTimer {
    const timer = new ManualTimer(this, handler);
    this.timers.add(timer);
    return timer;
  }

  step(nanoseconds: bigint): void {
    const end = this.#now + nanoseconds;
    while (true) {
      let next: ManualTimer | undefined;
      for (const timer of this.timers) {
        if (timer.expiry === undefined || timer.expiry > end) continue;
        if (next?.expiry === undefined || timer.expiry < next.expiry) next = timer;
      }
      if (next?.expiry === undefined) break;
      if (next.expiry > this.#now) this.#now = next.expiry;
      next.expiry = undefined;
      next.handler();
    }
    this.#now = end;
  }
}

/** A backend whose other end takes `room` more bytes, and whose input is given by {@linkcode input}. */
export class MemoryBackend implements CharacterBackend {
  readonly id = "memory";
  readonly output: number[] = [];
  room = Infinity;
  #pending: number[] = [];
  #frontend: CharacterFrontend | undefined;
  #writable: (() => void)[] = [];

  attach(frontend: CharacterFrontend): void {
    if (this.#frontend !== undefined) throw new Error("the backend has a frontend already");
    this.#frontend = frontend;
  }

  detach(): void {
    this.#frontend = undefined;
  }

  write(bytes: Uint8Array<ArrayBuffer>, onWritable?: () => void): number {
    const taken = Math.min(bytes.length, this.room);
    this.output.push(...bytes.subarray(0, taken));
    this.room -= taken;
    if (taken < bytes.length && onWritable !== undefined) this.#writable.push(onWritable);
    return taken;
  }

  /** The other end reads: there is room for so many bytes more. */
  drain(room: number): void {
    this.room += room;
    for (const writable of this.#writable.splice(0)) writable();
  }

  /** The other end sends. */
  input(...bytes: number[]): void {
    this.#pending.push(...bytes);
    this.acceptInput();
  }

  /** Input not delivered yet. */
  get pending(): readonly number[] {
    return this.#pending;
  }

  breakCondition(): void {
    this.#frontend?.event("break");
  }

  acceptInput(): void {
    while (this.#frontend !== undefined && this.#pending.length > 0) {
      const room = this.#frontend.canReceive();
      if (room === 0) return;
      this.#frontend.receive(Uint8Array.from(this.#pending.splice(0, room)));
    }
  }

  /** This end takes over what the other one has seen and still has. */
  takeOver(other: MemoryBackend): void {
    this.output.push(...other.output);
    this.room = other.room;
    this.input(...other.pending);
  }

  get text(): string {
    return String.fromCharCode(...this.output);
  }

  [Symbol.dispose](): void {
    this.detach();
  }
}

/** Guest memory from address 0 on. */
export class BytesMemory {
  readonly bytes: Uint8Array;

  constructor(readonly size: number) {
    this.bytes = new Uint8Array(size);
  }

  read(address: number, length: number): Uint8Array {
    this.#check(address, length);
    return this.bytes.slice(address, address + length);
  }

  write(address: number, bytes: Uint8Array): void {
    this.#check(address, bytes.length);
    this.bytes.set(bytes, address);
  }

  #check(address: number, length: number): void {
    if (address + length > this.size) throw new RangeError(`0x${address.toString(16)} is not RAM`);
  }
}
