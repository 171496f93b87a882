/** All character devices of the machine, by id. */
import type { CharacterFrontend, CharacterPort } from "./character.ts";
import type { Descriptor } from "../native/descriptor.ts";
import {
  type Chardev,
  type ChardevEnvironment,
  ChardevError,
  type ChardevState,
  type NamedDescriptor,
  naming,
  OutputFile,
  outputFlags,
} from "./chardev.ts";
import type { ChardevOptions } from "../configuration/chardev.ts";
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
  #options: ChardevOptions;
  #chardev: Chardev;
  #frontend: CharacterFrontend | undefined;

  constructor(chardev: Chardev, options: ChardevOptions) {
    this.id = chardev.id;
    this.#chardev = chardev;
    this.#options = options;
  }

  /** What the device was made from. */
  get options(): ChardevOptions {
    return this.#options;
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

  disconnect(): void {
    this.#chardev.disconnect();
  }

  /** Puts another device in this place and closes the one that was there. */
  replace(chardev: Chardev, options: ChardevOptions): void {
    const old = this.#chardev;
    this.#chardev = chardev;
    this.#options = options;
    if (old.open) this.#frontend?.event("closed");
    old[Symbol.dispose]();
    if (this.#frontend !== undefined) chardev.attach(this.#frontend);
  }

  [Symbol.dispose](): void {
    this.detach();
  }
}

/**
 * The role of the descriptor that a device's options name by number, if they do: a successor's will
 * name it again.
 */
function numberedRole({ backend }: ChardevOptions): string | undefined {
  if (backend.kind === "fd") return "input";
  if (backend.kind !== "socket" || backend.address.kind !== "fd") return undefined;
  return backend.role.kind === "server" ? "listener" : "connection";
}

/** What survives of the devices with `cpr=on`: their kinds and states, by id. */
export type SavedChardevs = Readonly<
  Record<string, { readonly kind: string; readonly state: ChardevState }>
>;

/** The entry of `id` in what is supposed to be {@linkcode SavedChardevs}. */
function savedState(saved: unknown, { id, backend }: ChardevOptions): ChardevState | undefined {
  if (!isRecord(saved)) return undefined;
  const entry = Object.hasOwn(saved, id) ? saved[id] : undefined;
  if (!isRecord(entry) || entry["kind"] !== backend.kind) return undefined;
  return isRecord(entry["state"]) ? entry["state"] : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Makes, finds and closes character devices. */
export class Chardevs implements Disposable {
  readonly #environment: ChardevEnvironment;
  readonly #slots = new Map<string, Slot>();
  #started = false;
  #begun = false;
  #terminalReleased = false;

  constructor(environment: ChardevEnvironment) {
    this.#environment = environment;
  }

  /**
   * Makes a device and adds it. Throws a {@linkcode ChardevError} or SystemError that says why it
   * cannot be made, and leaves nothing behind then.
   */
  async create(options: ChardevOptions): Promise<Chardev> {
    this.#refuseDuplicate(options.id);
    if (!options.mux) {
      return this.#add(await naming(options, () => this.#make(options)), options);
    }
    const base = await this.create({ ...options, id: `${options.id}-base`, mux: false });
    const { logfile: _, ...muxOptions } = options;
    return this.#add(
      new MuxChardev(this.#environment, muxOptions, base, this.#started),
      muxOptions,
    );
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
    slot.replace(chardev, options);
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
    const chardev = this.#slots.get(id)?.chardev;
    if (chardev?.cpr) chardev.giveAway();
    else chardev?.[Symbol.dispose]();
    this.#slots.delete(id);
  }

  /** Sends a serial line's break to the other end of `id`. None of the devices can: it is lost. */
  sendBreak(id: string): void {
    if (!this.#slots.has(id)) throw new ChardevError(`Chardev '${id}' not found`);
  }

  /** The descriptors of all devices that survive this process. */
  descriptors(): NamedDescriptor[] {
    return [...this.#slots.values()].filter(({ chardev }) => chardev.cpr)
      .flatMap(({ chardev }) => [...chardev.descriptors()]);
  }

  /**
   * The descriptors whose numbers options say, of devices that do not survive this process: where it is
   * the same process (cpr-exec), its successor finds them under their numbers.
   */
  numberedDescriptors(): NamedDescriptor[] {
    return [...this.#slots.values()].filter(({ chardev }) => !chardev.cpr).flatMap(
      ({ chardev, options }) => {
        const role = numberedRole(options);
        return chardev.descriptors().filter(({ name }) => name === `chardev/${options.id}/${role}`);
      },
    );
  }

  /** What else a successor needs: for {@linkcode restore}, by way of JSON. */
  save(): SavedChardevs {
    return Object.fromEntries(
      [...this.#slots.values()].filter(({ chardev }) => chardev.cpr)
        .map(({ id, options, chardev }) => [
          id,
          { kind: options.backend.kind, state: chardev.save() },
        ]),
    );
  }

  /** Has devices with `cpr=on` go on as those of a predecessor, which has saved this. */
  restore(saved: unknown): void {
    for (const { chardev, options } of this.#slots.values()) {
      if (chardev.cpr) chardev.restore(savedState(saved, options));
    }
  }

  /** The guest is here: devices that waited for it use their descriptors now. */
  begin(): void {
    this.#begun = true;
    for (const { chardev } of this.#slots.values()) chardev.begin();
  }

  /** Devices that survive take in no more clients: a live update has counted those that are there. */
  holdClients(): void {
    for (const { chardev } of this.#slots.values()) if (chardev.cpr) chardev.holdClients();
  }

  /** Devices that survive are paused. */
  suspend(): void {
    for (const { chardev } of this.#slots.values()) if (chardev.cpr) chardev.suspend();
  }

  /** They go on here after all. */
  resume(): void {
    for (const { chardev } of this.#slots.values()) chardev.resume();
  }

  /** Another process has the devices that survive now. */
  giveAway(): void {
    for (const { chardev } of this.#slots.values()) if (chardev.cpr) chardev.giveAway();
  }

  /** What an interim monitor carries the devices on with; see interim_chardevs.ts. */
  interimDescriptors(): NamedDescriptor[] {
    const chardevs = Array.from(this.#slots.values(), ({ chardev }) => chardev);
    const multiplexers = chardevs.filter((chardev) => chardev instanceof MuxChardev);
    const shared = new Set<Chardev>(multiplexers.map(({ base }) => base));
    const own = chardevs.filter((chardev) => !shared.has(chardev));
    return own.flatMap((chardev) => {
      if (!(chardev instanceof MuxChardev)) return [...chardev.interimDescriptors()];
      // A multiplexer's only frontend there is the guest's: what it shares goes under its name.
      const { id, base } = chardev;
      return base.interimDescriptors().map((entry) => ({
        ...entry,
        name: entry.name.replace(`chardev/${base.id}/`, `chardev/${id}/`),
      }));
    });
  }

  /** Gives the user's terminal back until {@linkcode takeTerminal}: an execve would leave it raw. */
  releaseTerminal(): void {
    this.#terminalReleased = true;
    for (const { chardev } of this.#slots.values()) {
      if (chardev instanceof StdioChardev) chardev.leaveRawMode();
    }
  }

  /** Takes the terminal again, after an execve that failed. */
  takeTerminal(): void {
    if (!this.#terminalReleased) return;
    this.#terminalReleased = false;
    for (const { chardev } of this.#slots.values()) {
      if (chardev instanceof StdioChardev) chardev.enterRawMode();
    }
  }

  /** Closes all, multiplexers before the devices under them. */
  [Symbol.dispose](): void {
    for (const slot of [...this.#slots.values()].reverse()) slot.chardev[Symbol.dispose]();
    this.#slots.clear();
  }

  #add(chardev: Chardev, options: ChardevOptions): Chardev {
    try {
      // Another one may have come while this one was being made.
      this.#refuseDuplicate(chardev.id);
    } catch (error) {
      chardev[Symbol.dispose]();
      throw error;
    }
    this.#slots.set(chardev.id, new Slot(chardev, options));
    return chardev;
  }

  #refuseDuplicate(id: string): void {
    if (this.#slots.has(id)) throw new ChardevError(`Chardev with id '${id}' already exists`);
  }

  /** What a device gets: descriptors of a predecessor only if it is to go on with them. */
  #environmentOf(options: ChardevOptions): ChardevEnvironment {
    const adopts = options.cpr || numberedRole(options) !== undefined;
    return {
      ...this.#environment,
      adopt: adopts ? this.#environment.adopt : () => undefined,
      takesOver: () => this.#environment.takesOver() && !this.#begun,
    };
  }

  async #make(options: ChardevOptions): Promise<Chardev> {
    const environment = this.#environmentOf(options);
    const chardev = await this.#makeBackend(options, environment);
    if (options.logfile === undefined) return chardev;
    try {
      const { id, logfile, logappend } = options;
      const log = environment.adopt(`chardev/${id}/log`, 0) ??
        environment.openPath(logfile, outputFlags(logappend), 0o666);
      chardev.logTo(new OutputFile(environment, logfile, log));
    } catch (error) {
      chardev[Symbol.dispose]();
      throw error;
    }
    return chardev;
  }

  async #makeBackend(
    options: ChardevOptions,
    environment: ChardevEnvironment,
  ): Promise<Chardev> {
    const { backend } = options;
    switch (backend.kind) {
      case "null":
        return new NullChardev(environment, options);
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
        return new RingbufChardev(environment, options, backend.size);
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
