/**
 * Bytes over descriptors that the event loop watches: read only while somebody takes them, write
 * what fits.
 *
 *   reading:  the handler has room -> readable is awaited -> one read per event -> received()
 *   paused:   the handler has no room -> only a hang-up is awaited, resume() looks again
 *   ended:    end of file, or an error -> ended() once; nothing is read any more. Where input and
 *             output are one descriptor, nothing is written either
 */
import type { Fd } from "../native/descriptor.ts";
import { Errno, SystemError } from "../native/errors.ts";
import {
  contain,
  type EventLoop,
  Events,
  type FaultHandler,
  type Watch,
} from "../native/event_loop.ts";

/** Most bytes taken by one read. */
const READ_SIZE = 65536;
const readBuffer = new Uint8Array(READ_SIZE);

/** Where bytes come from and go to. Both sides may be one descriptor. */
export interface StreamSource {
  readonly input: Fd | undefined;
  readonly output: Fd | undefined;
  /** Reads into `buffer`: the count, 0 at the end, `undefined` if nothing is there yet. */
  read(buffer: Uint8Array<ArrayBuffer>): number | undefined;
  /** Writes what fits: the count, `undefined` if nothing does. */
  write(bytes: Uint8Array<ArrayBuffer>): number | undefined;
  /** Has reading end behind what is unread, after output was lost; absent where it does by itself. */
  endReading?(): void;
}

/** Who consumes a stream. */
export interface StreamHandler {
  /** How many bytes it takes now. */
  capacity(): number;
  received(bytes: Uint8Array<ArrayBuffer>): void;
  /** The other side ended the stream or it failed. */
  ended(): void;
  /** The peer has disconnected while input of it is unread. `ended` follows once that was taken. */
  hungUp?(): void;
  /** More can be written, after {@linkcode ByteStream.awaitWritable}. */
  writable(): void;
  /** Something else went wrong with the stream or with what was done with it: it is to be ended. */
  failed(fault: unknown): void;
}

/** Descriptor readiness for as long as something is awaited. Files, which epoll refuses, are always ready. */
class Interest implements Disposable {
  readonly #loop: EventLoop;
  readonly #fd: Fd;
  readonly #handler: (events: number) => void;
  readonly #failed: FaultHandler;
  #watch: Watch | undefined;
  #events: number | undefined;
  #alwaysReady = false;
  #timeout: ReturnType<typeof setTimeout> | undefined;

  constructor(
    loop: EventLoop,
    fd: Fd,
    handler: (events: number) => void,
    failed: FaultHandler,
  ) {
    this.#loop = loop;
    this.#fd = fd;
    this.#handler = handler;
    this.#failed = failed;
  }

  /** Awaits `events` and a hang-up from now on; `undefined` for nothing. */
  set(events: number | undefined): void {
    if (events === this.#events) return;
    if (!this.#alwaysReady) this.#change(events);
    this.#events = events;
    if (this.#alwaysReady) this.#poll();
  }

  #change(events: number | undefined): void {
    if (events === undefined) {
      this.#watch?.[Symbol.dispose]();
      this.#watch = undefined;
    } else if (this.#watch !== undefined) {
      this.#watch.update(events);
    } else {
      this.#begin(events);
    }
  }

  #begin(events: number): void {
    try {
      this.#watch = this.#loop.watch(this.#fd, events, this.#handler, this.#failed);
    } catch (error) {
      if (!(error instanceof SystemError) || error.errno !== Errno.EPERM) throw error;
      this.#alwaysReady = true;
    }
  }

  #poll(): void {
    if (!this.#events || this.#timeout !== undefined) return;
    this.#timeout = setTimeout(() => {
      this.#timeout = undefined;
      const events = this.#events;
      if (events) contain(() => this.#handler(events), this.#failed);
      this.#poll();
    });
  }

  [Symbol.dispose](): void {
    this.#events = undefined;
    this.#watch?.[Symbol.dispose]();
    this.#watch = undefined;
    clearTimeout(this.#timeout);
  }
}

/** A stream over one or two descriptors, which stay the caller's to close after disposal. */
export class ByteStream implements Disposable {
  readonly #source: StreamSource;
  readonly #handler: StreamHandler;
  readonly #input: Interest | undefined;
  readonly #output: Interest | undefined;
  #suspended = false;
  #wantsOutput = false;
  #hungUp = false;
  #ended = false;
  #inputEnded = false;

  constructor(loop: EventLoop, source: StreamSource, handler: StreamHandler) {
    this.#source = source;
    this.#handler = handler;
    const { input, output } = source;
    if (input !== undefined) {
      this.#input = new Interest(loop, input, (events) => this.#ready(events), handler.failed);
    }
    this.#output = output === input
      ? this.#input
      : output === undefined
      ? undefined
      : new Interest(loop, output, () => this.#writable(), handler.failed);
  }

  /** Looks again how much the handler takes. */
  resume(): void {
    this.#await();
  }

  /** Lets the descriptors alone, `on` or no longer: nothing is awaited, not even a hang-up. */
  suspend(on: boolean): void {
    this.#suspended = on;
    if (!on) return this.#await();
    this.#input?.set(undefined);
    this.#output?.set(undefined);
  }

  /** Writes what fits and returns how much that was. Output to a peer that has disconnected is lost. */
  write(bytes: Uint8Array<ArrayBuffer>): number {
    let done = 0;
    try {
      while (done < bytes.length && !this.#ended) {
        const count = this.#source.write(bytes.subarray(done));
        if (count === undefined) return done;
        done += count;
      }
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      // Whoever is there must not wait for what was lost (the system may have been short of memory).
      // The end is reported by reading, so that input that came before it is not lost.
      this.#source.endReading?.();
      this.#noticeHangUp();
    }
    return bytes.length;
  }

  /** Has {@linkcode StreamHandler.writable} called once when more can be written. */
  awaitWritable(): void {
    this.#wantsOutput = true;
    this.#await();
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    this.#input?.[Symbol.dispose]();
    this.#output?.[Symbol.dispose]();
  }

  #await(): void {
    if (this.#ended || this.#suspended) return;
    if (this.#hungUp && this.#handler.capacity() === 0) this.#handler.hungUp?.();
    if (this.#ended) return;
    const input = !this.#inputEnded && this.#handler.capacity() > 0 ? Events.readable : 0;
    const output = this.#wantsOutput && !this.#hungUp ? Events.writable : 0;
    const both = this.#input === this.#output ? input | output : input;
    // A hang-up that is known would be reported again and again.
    if (!this.#inputEnded) this.#input?.set(both === 0 && this.#hungUp ? undefined : both);
    if (this.#output !== this.#input) this.#output?.set(output || undefined);
  }

  #ready(events: number): void {
    // It was ready before it was suspended.
    if (this.#suspended) return;
    if (events & Events.writable) this.#writable();
    if (events & ~Events.writable && !this.#ended) this.#read();
    if (this.#ended) return;
    if (events & (Events.hangUp | Events.error)) this.#noticeHangUp();
    else this.#await();
  }

  #noticeHangUp(): void {
    this.#hungUp = true;
    if (this.#wantsOutput) this.#writable();
    else this.#await();
  }

  #writable(): void {
    if (!this.#wantsOutput) return;
    this.#wantsOutput = false;
    this.#handler.writable();
    this.#await();
  }

  #read(): void {
    const capacity = Math.min(this.#handler.capacity(), READ_SIZE);
    if (capacity === 0) return;
    let count: number | undefined;
    try {
      count = this.#source.read(readBuffer.subarray(0, capacity));
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      count = 0;
    }
    if (count === undefined) return;
    if (count > 0) return this.#handler.received(readBuffer.slice(0, count));
    if (this.#input === this.#output) this[Symbol.dispose]();
    else this.#endInput();
    this.#handler.ended();
  }

  /** Input and output are two descriptors: the end of one is not that of the other. */
  #endInput(): void {
    this.#inputEnded = true;
    this.#input?.[Symbol.dispose]();
  }
}
