/** Sources of random bytes for guests: -object rng-builtin, rng-random and rng-egd. */
import { type EventLoop, Events, type Watch } from "../native/event_loop.ts";
import type { Descriptor } from "../native/descriptor.ts";
import { openFile, OpenFlags, read } from "../native/file.ts";
import type { CharacterBackend, CharacterFrontend } from "./character.ts";

/** A source of random bytes. */
export interface RngBackend extends Disposable {
  /**
   * Up to `count` random bytes, at least one. `undefined` if there are none now: then `ready` is called
   * once when there are some.
   */
  read(count: number, ready: () => void): Uint8Array<ArrayBuffer> | undefined;
}

/** rng-builtin: the host's random number generator, always ready. */
export class BuiltinRng implements RngBackend {
  read(count: number): Uint8Array<ArrayBuffer> {
    return crypto.getRandomValues(new Uint8Array(Math.min(count, 65536)));
  }

  [Symbol.dispose](): void {}
}

/** rng-random: a device or pipe such as /dev/random, which may have nothing at the moment. */
export class FileRng implements RngBackend {
  readonly #descriptor: Descriptor;
  readonly #loop: EventLoop;
  #watch: Watch | undefined;
  #ready: (() => void) | undefined;

  constructor(path: string, loop: EventLoop) {
    this.#loop = loop;
    this.#descriptor = openFile(path, OpenFlags.readOnly | OpenFlags.nonBlocking);
  }

  read(count: number, ready: () => void): Uint8Array<ArrayBuffer> | undefined {
    const bytes = new Uint8Array(count);
    const got = read(this.#descriptor.fd, bytes);
    // A source that has ended has nothing more, ever.
    if (got === 0) return undefined;
    if (got !== undefined) return bytes.subarray(0, got);
    this.#ready = ready;
    this.#watch ??= this.#loop.watch(this.#descriptor.fd, Events.readable, () => this.#arrived());
    return undefined;
  }

  [Symbol.dispose](): void {
    this.#watch?.[Symbol.dispose]();
    this.#descriptor[Symbol.dispose]();
  }

  #arrived(): void {
    this.#watch?.[Symbol.dispose]();
    this.#watch = undefined;
    const ready = this.#ready;
    this.#ready = undefined;
    ready?.();
  }
}

/** Asks a source of the EGD protocol for up to 255 bytes, which it sends when it has them. */
const EGD_READ_BLOCKING = 2;
const EGD_MAXIMUM = 255;

/** rng-egd: a program that gives entropy over a character device. */
export class EgdRng implements RngBackend, CharacterFrontend {
  readonly #chardev: CharacterBackend;
  #received: Uint8Array<ArrayBuffer> | undefined;
  /** Bytes asked for that have not come. */
  #outstanding = 0;
  #ready: (() => void) | undefined;

  /** `chardev` stays the caller's. */
  constructor(chardev: CharacterBackend) {
    this.#chardev = chardev;
    chardev.attach(this);
  }

  read(count: number, ready: () => void): Uint8Array<ArrayBuffer> | undefined {
    if (this.#received) {
      const bytes = this.#received.slice(0, count);
      const rest = this.#received.subarray(count);
      this.#received = rest.length > 0 ? rest : undefined;
      return bytes;
    }
    this.#ready = ready;
    if (this.#outstanding === 0) {
      this.#outstanding = Math.min(count, EGD_MAXIMUM);
      this.#chardev.write(Uint8Array.of(EGD_READ_BLOCKING, this.#outstanding));
    }
    return undefined;
  }

  canReceive(): number {
    return this.#received ? 0 : this.#outstanding;
  }

  receive(bytes: Uint8Array<ArrayBuffer>): void {
    this.#outstanding -= bytes.length;
    this.#received = bytes;
    const ready = this.#ready;
    this.#ready = undefined;
    ready?.();
    if (this.#received === undefined) this.#chardev.acceptInput();
  }

  event(): void {}

  [Symbol.dispose](): void {
    this.#chardev.detach();
  }
}
