/** Sources of random bytes for guests: -object rng-builtin, rng-random and rng-egd. */
import { type EventLoop, Events, type Watch } from "../native/event_loop.ts";
import type { Descriptor } from "../native/descriptor.ts";
import { SystemError } from "../native/errors.ts";
import { OpenFlags, type OpenPath, read } from "../native/file.ts";
import { faultText } from "../native/faults.ts";
import type { CharacterEvent, CharacterFrontend, CharacterPort } from "./character.ts";

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

interface FileRngDependencies {
  readonly loop: EventLoop;
  /** Takes messages for the user. */
  readonly report: (message: string) => void;
  readonly openPath: OpenPath;
}

/** rng-random: a device or pipe such as /dev/random, which may have nothing at the moment. */
export class FileRng implements RngBackend {
  readonly #descriptor: Descriptor;
  readonly #loop: EventLoop;
  readonly #path: string;
  readonly #report: (message: string) => void;
  #watch: Watch | undefined;
  #ready: (() => void) | undefined;
  #ended = false;

  constructor(path: string, { loop, report, openPath }: FileRngDependencies) {
    this.#loop = loop;
    this.#path = path;
    this.#report = report;
    this.#descriptor = openPath(path, OpenFlags.readOnly | OpenFlags.nonBlocking);
  }

  read(count: number, ready: () => void): Uint8Array<ArrayBuffer> | undefined {
    if (this.#ended) return undefined;
    try {
      return this.#read(count, ready);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#fail(error);
      return undefined;
    }
  }

  #read(count: number, ready: () => void): Uint8Array<ArrayBuffer> | undefined {
    const bytes = new Uint8Array(count);
    const got = read(this.#descriptor.fd, bytes);
    // A source that has ended has nothing more, ever.
    if (got === 0) this.#ended = true;
    else if (got !== undefined) return bytes.subarray(0, got);
    if (this.#ended) return undefined;
    this.#ready = ready;
    this.#watch ??= this.#loop.watch(
      this.#descriptor.fd,
      Events.readable,
      () => this.#arrived(),
      (fault) => this.#fail(fault),
    );
    return undefined;
  }

  /** What cannot be read has ended: the guest waits, as with a source that has nothing. */
  #fail(fault: unknown): void {
    this.#ended = true;
    this.#report(`-object rng-random,filename=${this.#path}: no more: ${faultText(fault)}`);
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

/**
 * rng-egd: a program that gives entropy over a character device.
 *
 *   idle -> read -> asking: the request is written, as far as the device takes it -> bytes come -> idle
 *   asking -> disconnected: the request and what was to come are lost -> connected -> asking, once more
 */
export class EgdRng implements RngBackend, CharacterFrontend {
  readonly #chardev: CharacterPort;
  #received: Uint8Array<ArrayBuffer> | undefined;
  #connected = false;
  /** Bytes that somebody waits for; 0: nobody does. */
  #wanted = 0;
  /** Bytes asked for, of this connection, that have not come. */
  #outstanding = 0;
  /** What the device has not taken of the request. */
  #unsent: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #ready: (() => void) | undefined;

  /** `chardev` stays the caller's. */
  constructor(chardev: CharacterPort) {
    this.#chardev = chardev;
    chardev.attach(this);
  }

  read(count: number, ready: () => void): Uint8Array<ArrayBuffer> | undefined {
    if (this.#received) {
      const bytes = this.#received.slice(0, count);
      const rest = this.#received.subarray(count);
      this.#received = rest.length > 0 ? rest : undefined;
      if (this.#received === undefined) this.#chardev.acceptInput();
      return bytes;
    }
    this.#ready = ready;
    this.#wanted = Math.min(count, EGD_MAXIMUM);
    this.#ask();
    return undefined;
  }

  canReceive(): number {
    return this.#received ? 0 : this.#outstanding;
  }

  receive(bytes: Uint8Array<ArrayBuffer>): void {
    for (const passenger of this.#chardev.takeDescriptors()) passenger[Symbol.dispose]();
    this.#outstanding -= bytes.length;
    this.#received = bytes;
    this.#wanted = 0;
    const ready = this.#ready;
    this.#ready = undefined;
    ready?.();
    if (this.#received === undefined) this.#chardev.acceptInput();
  }

  event(event: CharacterEvent): void {
    if (event !== "opened" && event !== "closed") return;
    this.#connected = event === "opened";
    this.#outstanding = 0;
    this.#unsent = new Uint8Array(0);
    this.#ask();
  }

  [Symbol.dispose](): void {
    this.#ready = undefined;
    this.#wanted = 0;
    this.#chardev.detach();
  }

  /** Asks for what is wanted, unless nobody is there to ask or the answer is under way. */
  #ask(): void {
    if (!this.#connected || this.#wanted === 0 || this.#outstanding > 0) return;
    this.#outstanding = this.#wanted;
    this.#unsent = Uint8Array.of(EGD_READ_BLOCKING, this.#wanted);
    this.#send();
    this.#chardev.acceptInput();
  }

  #send(): void {
    if (this.#unsent.length === 0) return;
    const taken = this.#chardev.write(this.#unsent, () => this.#send());
    this.#unsent = this.#unsent.subarray(taken);
  }
}
