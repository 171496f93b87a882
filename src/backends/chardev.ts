/**
 * What all character devices share: the one frontend, the state of the other end, the log of the
 * output, and who waits to write more.
 */
import { Descriptor, type Fd } from "../native/descriptor.ts";
import { OpenFlags, type OpenPath, setNonBlocking, status, write } from "../native/file.ts";
import { takesOutput } from "../native/wait.ts";
import { errnoMessage, SystemError } from "../native/errors.ts";
import { contain, type EventLoop } from "../native/event_loop.ts";
import { faultText } from "../native/faults.ts";
import type { CharacterEvent, CharacterFrontend, CharacterPort } from "./character.ts";
import type { ChardevOptions } from "../configuration/chardev.ts";

/** A character device that could not be made or used as asked. */
export class ChardevError extends Error {
  override readonly name = "ChardevError";
}

/** A descriptor of a device under the name that finds it again in a successor. */
export interface NamedDescriptor {
  readonly name: string;
  readonly id: number;
  readonly fd: Fd;
}

/** What a successor needs of a device beside its descriptors: members of JSON types. */
export type ChardevState = Readonly<Record<string, unknown>>;

/** What a character device needs of the process around it. */
export interface ChardevEnvironment {
  readonly loop: EventLoop;
  /**
   * The guest is still another process's: devices that survive this (`cpr=on`) use their descriptors
   * only from {@linkcode Chardev.begin} on.
   */
  takesOver(): boolean;
  /** Takes over a descriptor that a predecessor left under (name, id), if it left one. */
  adopt(name: string, id: number): Descriptor | undefined;
  /** A descriptor that a monitor's getfd named, now the caller's. */
  takeNamedDescriptor(name: string): Descriptor | undefined;
  /** Opens a path that the user gave. */
  readonly openPath: OpenPath;
  /** A line for the user, on stderr. */
  report(line: string): void;
  /** A line that programs look for, on standard output. */
  announce(line: string): void;
  /** The user asked to end the machine (Ctrl-a x). */
  quit(): void;
  /** The user asked to write disk changes back (Ctrl-a s). */
  commitDisks(): void;
}

/** Makes a device; an option that asks for it stands before what goes wrong. */
export async function naming<Made>(
  { origin }: ChardevOptions,
  make: () => Promise<Made>,
): Promise<Made> {
  try {
    return await make();
  } catch (error) {
    if (origin === undefined || !(error instanceof Error)) throw error;
    throw new ChardevError(`${origin}${error.message}`, { cause: error });
  }
}

/** Opens `path` by `open`. Whether it is opened or created, the user said `open` it. */
export function openAs(open: OpenPath, path: string, flags: number, mode = 0o666): Descriptor {
  try {
    return open(path, flags, mode);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new SystemError(`Could not open '${path}'`, error.errno);
  }
}

/** O_* flags for output: the file is emptied, or written at its end. */
export function outputFlags(append: boolean): number {
  const { writeOnly, create, truncate, append: atEnd } = OpenFlags;
  return writeOnly | create | (append ? atEnd : truncate);
}

/** How long output to a pipe waits for its reader before it is given up, in ms. */
const READER_TIME = 1000;

/** Whether what is written waits for somebody who reads it. */
export function hasReader(fd: Fd): boolean {
  const { kind } = status(fd);
  return kind === "pipe" || kind === "socket";
}

/**
 * A file that takes output. What cannot be written, on a full disk or to a pipe that nobody reads, is lost
 * and reported once.
 */
export class OutputFile implements Disposable {
  readonly #path: string;
  readonly #environment: Pick<ChardevEnvironment, "report">;
  readonly #descriptor: Descriptor;
  #failed = false;

  /** Takes over `descriptor`, which is `path`'s. */
  constructor(
    environment: Pick<ChardevEnvironment, "report">,
    path: string,
    descriptor: Descriptor,
  ) {
    this.#path = path;
    this.#environment = environment;
    this.#descriptor = descriptor;
    if (hasReader(this.fd)) setNonBlocking(this.fd, true);
  }

  get fd(): Fd {
    return this.#descriptor.fd;
  }

  /** Writes all of `bytes`. */
  write(bytes: Uint8Array<ArrayBuffer>): void {
    try {
      for (let done = 0; done < bytes.length;) {
        const count = write(this.fd, bytes.subarray(done));
        if (count !== undefined) done += count;
        else if (!this.#awaitReader()) return this.#lose("nobody reads it");
      }
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#lose(errnoMessage(error.errno));
    }
  }

  /** The guest and its monitors wait as well: once is enough. */
  #awaitReader(): boolean {
    return !this.#failed && takesOutput(this.fd, READER_TIME);
  }

  #lose(reason: string): void {
    if (!this.#failed) {
      this.#environment.report(`output to '${this.#path}' is lost: ${reason}`);
    }
    this.#failed = true;
  }

  [Symbol.dispose](): void {
    this.#descriptor[Symbol.dispose]();
  }
}

/** A character device's backend. Subclasses move the bytes. */
export abstract class Chardev implements CharacterPort {
  readonly id: string;
  /** The descriptors survive cpr-exec and cpr-transfer. */
  readonly cpr: boolean;
  readonly #report: (line: string) => void;
  #frontend: CharacterFrontend | undefined;
  #begun: boolean;
  #suspended = false;
  #open = false;
  #failing = false;
  #waiting: (() => void)[] = [];
  #log: OutputFile | undefined;

  /** With `waits`, the device does nothing until {@linkcode begin}. */
  constructor(
    { report }: Pick<ChardevEnvironment, "report">,
    options: ChardevOptions,
    waits = false,
  ) {
    this.#report = report;
    this.id = options.id;
    this.cpr = options.cpr;
    this.#begun = !waits;
  }

  /** Copies all output to `log` from now on, and owns it. */
  logTo(log: OutputFile): void {
    this.#log = log;
  }

  /** The device as query-chardev shows it, such as `unix:/run/x.sock,server=on`. */
  abstract readonly filename: string;

  /** What must stay open for the device to survive its process. */
  descriptors(): readonly NamedDescriptor[] {
    return this.#logDescriptors();
  }

  /** What else a successor needs: for {@linkcode restore} of a device with the same options. */
  save(): ChardevState {
    return {};
  }

  /** Goes on where a predecessor's device stopped; `undefined`: there was none, or it is not understood. */
  restore(_state: ChardevState | undefined): void {}

  /** True once the device may use what it adopted. */
  protected get begun(): boolean {
    return this.#begun;
  }

  /** The guest is here: input, output and clients are served from now on. */
  begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#contain(() => {
      if (this.#open) this.emit("opened");
      this.inputWanted();
      this.writableAgain();
    });
  }

  /** Takes in no clients until {@linkcode resume}: those that come wait. */
  holdClients(): void {}

  /** Stands still until {@linkcode resume}: reads nothing, writes nothing, notices nothing. */
  suspend(): void {
    this.#suspended = true;
    this.streams(true);
  }

  /** Goes on after {@linkcode holdClients} and {@linkcode suspend}. */
  resume(): void {
    if (!this.#suspended) return;
    this.#suspended = false;
    this.#contain(() => {
      this.streams(false);
      this.inputWanted();
      this.writableAgain();
    });
  }

  /** Has the device's streams leave their descriptors alone, or no longer. */
  protected streams(_suspended: boolean): void {}

  /**
   * Another process has this device now: closes it here, as if the other end had left, and leaves alone
   * what has a name (a socket's file), which is the other process's.
   */
  giveAway(): void {
    this.leaveNames();
    this.setOpen(false);
    this.#begun = false;
    this[Symbol.dispose]();
  }

  /** Disposal is not to remove anything from the file system. */
  protected leaveNames(): void {}

  /**
   * With what an interim monitor carries the device on while this process executes its successor, under the
   * role `file` (output only) or `input` (both ways). Without any, its output is lost meanwhile, as it
   * is when nobody is connected; but the log gets it in any case.
   */
  interimDescriptors(): readonly NamedDescriptor[] {
    return this.#logDescriptors();
  }

  #logDescriptors(): readonly NamedDescriptor[] {
    return this.#log === undefined ? [] : [this.named("log", this.#log.fd)];
  }

  /** A descriptor under this device's name: `chardev/serial0/log`. */
  protected named(role: string, fd: Fd): NamedDescriptor {
    return { name: `chardev/${this.id}/${role}`, id: 0, fd };
  }

  /** Outputs what the other end takes now and returns how much that was. */
  protected abstract output(bytes: Uint8Array<ArrayBuffer>): number;

  /** The frontend has room: deliver input that waits. */
  protected inputWanted(): void {}

  /** The frontend wants to write more: call {@linkcode writableAgain} when that is possible. */
  protected outputWanted(): void {}

  /** True if a frontend is attached. */
  get frontendOpen(): boolean {
    return this.#frontend !== undefined;
  }

  /** True if somebody is at the other end. */
  get open(): boolean {
    return this.#open;
  }

  /**
   * Ends the connection to the other end, as if that had: where somebody can connect again, it waits for
   * that. Without anything that can be ended, nothing happens.
   */
  disconnect(): void {}

  /** The same after a fault, where nobody can come again for good. */
  protected end(): void {
    this.disconnect();
  }

  /** What was done with the other end has failed: it is disconnected, and nothing else happens. */
  protected fail(fault: unknown): void {
    this.#report(`chardev '${this.id}': disconnected: ${faultText(fault)}`);
    // Disconnecting fails as well if the fault is in there.
    if (this.#failing) return;
    this.#failing = true;
    try {
      this.end();
    } catch (another) {
      this.#report(`chardev '${this.id}': ${faultText(another)}`);
    } finally {
      this.#failing = false;
    }
  }

  /** Does `action` for the frontend or the machine; what it throws is this device's fault. */
  #contain(action: () => void): void {
    contain(action, (fault) => this.fail(fault));
  }

  attach(frontend: CharacterFrontend): void {
    if (this.#frontend !== undefined) {
      throw new ChardevError(`chardev '${this.id}' is already in use`);
    }
    this.#frontend = frontend;
    if (this.#open && this.#begun) frontend.event("opened");
    this.acceptInput();
  }

  detach(): void {
    this.#frontend = undefined;
    this.writableAgain();
  }

  write(bytes: Uint8Array<ArrayBuffer>, onWritable?: () => void): number {
    // Of what goes wrong here the frontend has no part: its output is lost, as with nobody connected.
    let taken = bytes.length;
    this.#contain(() => {
      taken = bytes.length === 0 || !this.#active ? 0 : this.output(bytes);
      if (taken > 0) this.#log?.write(bytes.subarray(0, taken));
    });
    if (taken < bytes.length && onWritable !== undefined) {
      this.#waiting.push(onWritable);
      if (this.#active) this.#contain(() => this.outputWanted());
    }
    return taken;
  }

  acceptInput(): void {
    if (this.#active) this.#contain(() => this.inputWanted());
  }

  takeDescriptors(): Descriptor[] {
    return [];
  }

  [Symbol.dispose](): void {
    this.#log?.[Symbol.dispose]();
    this.#log = undefined;
    this.detach();
  }

  get #active(): boolean {
    return this.#begun && !this.#suspended;
  }

  /** How many bytes the frontend takes now. */
  protected get capacity(): number {
    return this.#frontend?.canReceive() ?? 0;
  }

  /** Input for the frontend: no more bytes than {@linkcode capacity}. */
  protected deliver(bytes: Uint8Array<ArrayBuffer>): void {
    this.#frontend?.receive(bytes);
  }

  /** Notifies the frontend of something that happened at the other end. */
  protected emit(event: CharacterEvent): void {
    this.#frontend?.event(event);
  }

  /** Somebody came to the other end, or left it. */
  protected setOpen(open: boolean): void {
    if (open === this.#open) return;
    this.#open = open;
    if (!this.#begun) return;
    this.emit(open ? "opened" : "closed");
    // Who waited for a full connection that is gone can go on: the output is lost.
    if (!open) this.writableAgain();
  }

  /** The other end takes output again. */
  protected writableAgain(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const callback of waiting) contain(callback, (fault) => this.fail(fault));
  }
}
