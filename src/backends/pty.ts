/**
 * The `pty` chardev: a pseudo terminal for another program to open.
 *
 *   closed -> somebody opens the terminal, noticed within a second or by the next output -> open
 *          -> the last one closes it -> closed
 */
import type { Descriptor } from "../native/descriptor.ts";
import {
  contain,
  type EventLoop,
  Events,
  monotonicTime,
  type Timer,
} from "../native/event_loop.ts";
import { SystemError } from "../native/errors.ts";
import { pollNow, read, readLink, symbolicLink, unlink, write } from "../native/file.ts";
import { openPseudoTerminal, pseudoTerminalPath } from "../native/terminal.ts";
import { Chardev, type ChardevEnvironment, type NamedDescriptor } from "./chardev.ts";
import type { ChardevOptions } from "../configuration/chardev.ts";
import { ByteStream } from "./stream.ts";

const LOOK_AGAIN_NS = 1_000_000_000n;

/** Removes the link `path` if it leads to a terminal that `mayGo`. */
function removeLink(path: string, mayGo: (terminal: string) => boolean): void {
  try {
    if (mayGo(readLink(path))) unlink(path);
  } catch (error) {
    // There is none, or something else is there, which stays.
    if (!(error instanceof SystemError)) throw error;
  }
}

export class PtyChardev extends Chardev {
  /** The terminal's path, such as /dev/pts/3. */
  readonly path: string;
  readonly #loop: EventLoop;
  readonly #master: Descriptor;
  #link: string | undefined;
  readonly #timer: Timer;
  #stream: ByteStream | undefined;

  /** With `link`, that path leads to the terminal. */
  constructor(environment: ChardevEnvironment, options: ChardevOptions, link: string | undefined) {
    super(environment, options, options.cpr && environment.takesOver());
    this.#loop = environment.loop;
    const adopted = environment.adopt(`chardev/${this.id}/pty`, 0);
    this.#master = adopted ?? this.#open();
    this.path = pseudoTerminalPath(this.#master.fd);
    this.#timer = this.#loop.timer(() => this.#look(), (fault) => this.fail(fault));
    if (link !== undefined) {
      try {
        if (environment.takesOver() && adopted === undefined) {
          // A predecessor's terminal closed with it.
          removeLink(link, (terminal) => terminal.startsWith("/dev/pts/"));
        }
        if (adopted === undefined) symbolicLink(this.path, link);
      } catch (error) {
        this[Symbol.dispose]();
        throw error;
      }
      this.#link = link;
    }
    if (adopted === undefined) {
      environment.announce(`char device redirected to ${this.path} (label ${this.id})`);
    }
    if (this.begun) contain(() => this.#look(), (fault) => this.fail(fault));
  }

  get filename(): string {
    return `pty:${this.path}`;
  }

  override begin(): void {
    super.begin();
    contain(() => this.#look(), (fault) => this.fail(fault));
  }

  /** Whoever has the terminal open is noticed again after a while. */
  override disconnect(): void {
    this.#left();
  }

  override descriptors(): readonly NamedDescriptor[] {
    return [...super.descriptors(), this.named("pty", this.#master.fd)];
  }

  protected override leaveNames(): void {
    this.#link = undefined;
  }

  override interimDescriptors(): readonly NamedDescriptor[] {
    const log = super.interimDescriptors();
    return this.cpr ? [...log, this.named("input", this.#master.fd)] : log;
  }

  protected override output(bytes: Uint8Array<ArrayBuffer>): number {
    this.#look();
    return this.#stream?.write(bytes) ?? bytes.length;
  }

  protected override outputWanted(): void {
    this.#stream?.awaitWritable();
  }

  protected override streams(suspended: boolean): void {
    this.#stream?.suspend(suspended);
    if (suspended) this.#timer.disarm();
    else this.#look();
  }

  protected override inputWanted(): void {
    this.#stream?.resume();
  }

  override [Symbol.dispose](): void {
    this.#timer[Symbol.dispose]();
    this.#stream?.[Symbol.dispose]();
    if (this.#link !== undefined) removeLink(this.#link, (terminal) => terminal === this.path);
    this.#master[Symbol.dispose]();
    super[Symbol.dispose]();
  }

  /** The slave side is not kept open: that nobody has it shows that nobody is there. */
  #open(): Descriptor {
    const { master, slave } = openPseudoTerminal();
    slave[Symbol.dispose]();
    return master;
  }

  /** Looks whether somebody has opened the terminal. */
  #look(): void {
    if (this.#stream !== undefined) return;
    if (pollNow(this.#master.fd, Events.readable) & Events.hangUp) {
      this.#timer.arm(monotonicTime() + LOOK_AGAIN_NS);
      return;
    }
    const { fd } = this.#master;
    this.#stream = new ByteStream(this.#loop, {
      input: fd,
      output: fd,
      read: (buffer) => read(fd, buffer),
      write: (bytes) => write(fd, bytes),
    }, {
      capacity: () => this.capacity,
      received: (bytes) => this.deliver(bytes),
      ended: () => this.#left(),
      hungUp: () => this.#left(),
      writable: () => this.writableAgain(),
      failed: (fault) => this.fail(fault),
    });
    this.setOpen(true);
    this.#stream.resume();
  }

  #left(): void {
    this.#stream?.[Symbol.dispose]();
    this.#stream = undefined;
    this.setOpen(false);
    this.#timer.arm(monotonicTime() + LOOK_AGAIN_NS);
  }
}
