/** All character devices of the machine, by id. */
import type { CharacterFrontend, CharacterPort } from "./character.ts";
import type { Descriptor } from "../native/descriptor.ts";
import { openFile } from "../native/file.ts";
import {
  type Chardev,
  type ChardevEnvironment,
  ChardevError,
  type NamedDescriptor,
  OutputFile,
  outputFlags,
} from "./chardev.ts";
import type { ChardevOptions } from "./chardev_options.ts";
import { createFdChardev, createPipeChardev } from "./duplex.ts";
import { FileChardev } from "./file.ts";
import { MuxChardev } from "./mux.ts";
import { NullChardev } from "./null.ts";
import { PtyChardev } from "./pty.ts";
import { RingbufChardev } from "./ringbuf.ts";
import { SocketChardev } from "./socket.ts";
import { StdioChardev } from "./stdio.ts";

/** A character device as query-chardev shows it. */
export interface ChardevInfo {
  readonly label: string;
  readonly filename: string;
  readonly frontendOpen: boolean;
}

/** An id's place in the machine: a frontend stays attached while chardev-change puts another device there. */
class Slot implements CharacterPort {
  readonly id: string;
  #chardev: Chardev;
  #frontend: CharacterFrontend | undefined;

  constructor(chardev: Chardev) {
    this.id = chardev.id;
    this.#chardev = chardev;
  }

  get chardev(): Chardev {
    return this.#chardev;
  }

  attach(frontend: CharacterFrontend): void {
    this.#chardev.attach(frontend);
    this.#frontend = frontend;
  }

  detach(): void {
    this.#chardev.detach();
    this.#frontend = undefined;
  }

  write(bytes: Uint8Array<ArrayBuffer>, onWritable?: () => void): number {
    return this.#chardev.write(bytes, onWritable);
  }

  acceptInput(): void {
    this.#chardev.acceptInput();
  }

  takeDescriptors(): Descriptor[] {
    return this.#chardev.takeDescriptors();
  }

  /** Puts another device in this place and closes the one that was there. */
  replace(chardev: Chardev): void {
    const old = this.#chardev;
    this.#chardev = chardev;
    if (old.open) this.#frontend?.event("closed");
    old[Symbol.dispose]();
    if (this.#frontend !== undefined) chardev.attach(this.#frontend);
  }

  [Symbol.dispose](): void {
    this.detach();
  }
}

/** Makes, finds and closes character devices. */
export class Chardevs implements Disposable {
  readonly #environment: ChardevEnvironment;
  readonly #slots = new Map<string, Slot>();
  #started = false;

  constructor(environment: ChardevEnvironment) {
    this.#environment = environment;
  }

  /**
   * Makes a device and adds it. Throws a {@linkcode ChardevError} or SystemError that says why it
   * cannot be made, and leaves nothing behind then.
   */
  async create(options: ChardevOptions): Promise<Chardev> {
    this.#refuseDuplicate(options.id);
    if (!options.mux) return this.#add(await this.#make(options));
    const base = await this.create({ ...options, id: `${options.id}-base`, mux: false });
    const { logfile: _, ...muxOptions } = options;
    return this.#add(new MuxChardev(this.#environment, muxOptions, base, this.#started));
  }

  /**
   * The machine's first frontends are attached. Until then those of multiplexers hear nothing: a
   * monitor, say, must not greet on a terminal whose focus the serial port is about to get.
   */
  start(): void {
    this.#started = true;
    for (const { chardev } of this.#slots.values()) {
      if (chardev instanceof MuxChardev) chardev.start();
    }
  }

  /** The device `id`, `undefined` if there is none. */
  find(id: string): Chardev | undefined {
    return this.#slots.get(id)?.chardev;
  }

  /** Something a frontend can attach to: the device itself, or a place at a multiplexer. */
  port(id: string): CharacterPort {
    const slot = this.#slots.get(id);
    if (slot === undefined) throw new ChardevError(`chardev "${id}" not found`);
    return slot.chardev instanceof MuxChardev ? slot.chardev.port() : slot;
  }

  /** All devices, in the order in which they were made. */
  list(): ChardevInfo[] {
    return Array.from(this.#slots.values(), ({ chardev }) => ({
      label: chardev.id,
      filename: chardev.filename,
      frontendOpen: chardev.frontendOpen,
    }));
  }

  /** Puts a new device in the place of `options.id`; its frontend stays. */
  async change(options: ChardevOptions): Promise<Chardev> {
    const slot = this.#slots.get(options.id);
    if (slot === undefined) throw new ChardevError(`Chardev '${options.id}' does not exist`);
    if (slot.chardev instanceof MuxChardev || options.mux || options.backend.kind === "mux") {
      throw new ChardevError("For mux or hub device hotswap is not supported yet");
    }
    const chardev = await this.#make(options);
    if (this.#slots.get(options.id) !== slot) {
      chardev[Symbol.dispose]();
      throw new ChardevError(`Chardev '${options.id}' does not exist`);
    }
    slot.replace(chardev);
    return chardev;
  }

  /** Closes and forgets a device that no frontend uses. */
  remove(id: string): void {
    const slot = this.#slots.get(id);
    if (slot === undefined) throw new ChardevError(`Chardev '${id}' not found`);
    const { chardev } = slot;
    if (chardev.frontendOpen || chardev instanceof MuxChardev) {
      throw new ChardevError(`Chardev '${id}' is busy`);
    }
    this.#slots.delete(id);
    chardev[Symbol.dispose]();
  }

  /** Closes and forgets a device, if there is one, whoever used it. */
  discard(id: string): void {
    this.#slots.get(id)?.chardev[Symbol.dispose]();
    this.#slots.delete(id);
  }

  /** Sends a serial line's break to the other end of `id`. None of the devices can: it is lost. */
  sendBreak(id: string): void {
    if (!this.#slots.has(id)) throw new ChardevError(`Chardev '${id}' not found`);
  }

  /** The descriptors of all devices whose connections survive this process. */
  descriptors(): NamedDescriptor[] {
    return Array.from(this.#slots.values()).flatMap(({ chardev }) =>
      chardev.cpr ? [...chardev.descriptors()] : []
    );
  }

  /** Gives the user's terminal back until {@linkcode takeTerminal}: an execve would leave it raw. */
  releaseTerminal(): void {
    for (const { chardev } of this.#slots.values()) {
      if (chardev instanceof StdioChardev) chardev.leaveRawMode();
    }
  }

  /** Takes the terminal again, after an execve that failed. */
  takeTerminal(): void {
    for (const { chardev } of this.#slots.values()) {
      if (chardev instanceof StdioChardev) chardev.enterRawMode();
    }
  }

  /** Closes all, multiplexers before the devices under them. */
  [Symbol.dispose](): void {
    for (const slot of [...this.#slots.values()].reverse()) slot.chardev[Symbol.dispose]();
    this.#slots.clear();
  }

  #add(chardev: Chardev): Chardev {
    try {
      // Another one may have come while this one was being made.
      this.#refuseDuplicate(chardev.id);
    } catch (error) {
      chardev[Symbol.dispose]();
      throw error;
    }
    this.#slots.set(chardev.id, new Slot(chardev));
    return chardev;
  }

  #refuseDuplicate(id: string): void {
    if (this.#slots.has(id)) throw new ChardevError(`Chardev with id '${id}' already exists`);
  }

  async #make(options: ChardevOptions): Promise<Chardev> {
    const chardev = await this.#makeBackend(options);
    if (options.logfile === undefined) return chardev;
    try {
      const { id, logfile, logappend } = options;
      const log = this.#environment.adopt(`chardev/${id}/log`, 0) ??
        openFile(logfile, outputFlags(logappend), 0o666);
      chardev.logTo(new OutputFile(this.#environment, logfile, log));
    } catch (error) {
      chardev[Symbol.dispose]();
      throw error;
    }
    return chardev;
  }

  async #makeBackend(options: ChardevOptions): Promise<Chardev> {
    const { backend } = options;
    const environment = this.#environment;
    switch (backend.kind) {
      case "null":
        return new NullChardev(options);
      case "file":
        return new FileChardev(environment, options, backend);
      case "stdio":
        return new StdioChardev(environment, options, backend);
      case "socket":
        return await SocketChardev.create(environment, options, backend);
      case "pty":
        return new PtyChardev(environment, options, backend.path);
      case "pipe":
        return createPipeChardev(environment, options, backend.path);
      case "fd":
        return createFdChardev(environment, options, backend.fd);
      case "ringbuf":
        return new RingbufChardev(options, backend.size);
      case "mux": {
        const base = this.find(backend.chardev);
        if (base === undefined) {
          throw new ChardevError(`mux: base chardev ${backend.chardev} not found`);
        }
        return new MuxChardev(environment, options, base, this.#started);
      }
    }
  }
}
