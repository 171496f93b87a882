/** All character devices of the machine, by id. */
import type { CharacterPort } from "./character.ts";
import { Chardev, type ChardevEnvironment, ChardevError, type NamedDescriptor } from "./chardev.ts";
import type { ChardevOptions } from "./chardev_options.ts";
import { FileChardev } from "./file.ts";
import { NullChardev } from "./null.ts";
import { SocketChardev } from "./socket.ts";
import { StdioChardev } from "./stdio.ts";

/** A character device as query-chardev shows it. */
export interface ChardevInfo {
  readonly label: string;
  readonly filename: string;
  readonly frontendOpen: boolean;
}

/** Makes, finds and closes character devices. */
export class Chardevs implements Disposable {
  readonly #environment: ChardevEnvironment;
  readonly #chardevs = new Map<string, Chardev>();

  constructor(environment: ChardevEnvironment) {
    this.#environment = environment;
  }

  /**
   * Makes a device and adds it. Throws a {@linkcode ChardevError} or SystemError that says why it
   * cannot be made, and leaves nothing behind then.
   */
  async create(options: ChardevOptions): Promise<Chardev> {
    this.#refuseDuplicate(options.id);
    const chardev = await this.#make(options);
    try {
      this.#refuseDuplicate(options.id);
    } catch (error) {
      chardev[Symbol.dispose]();
      throw error;
    }
    this.#chardevs.set(options.id, chardev);
    return chardev;
  }

  /** The device `id`, `undefined` if there is none. */
  find(id: string): Chardev | undefined {
    return this.#chardevs.get(id);
  }

  /** Something a frontend can attach to: the device itself, or a place at a multiplexer. */
  port(id: string): CharacterPort {
    const chardev = this.#chardevs.get(id);
    if (chardev === undefined) throw new ChardevError(`chardev "${id}" not found`);
    return chardev;
  }

  /** All devices, in the order in which they were made. */
  list(): ChardevInfo[] {
    return Array.from(this.#chardevs.values(), (chardev) => ({
      label: chardev.id,
      filename: chardev.filename,
      frontendOpen: chardev.frontendOpen,
    }));
  }

  /** Closes and forgets a device that no frontend uses. */
  remove(id: string): void {
    const chardev = this.#chardevs.get(id);
    if (chardev === undefined) throw new ChardevError(`Chardev '${id}' not found`);
    if (chardev.frontendOpen) throw new ChardevError(`Chardev '${id}' is busy`);
    this.#chardevs.delete(id);
    chardev[Symbol.dispose]();
  }

  /** The descriptors of all devices whose connections survive this process. */
  descriptors(): NamedDescriptor[] {
    return [...this.#chardevs.values()].flatMap((chardev) =>
      chardev.cpr ? chardev.descriptors() : []
    );
  }

  [Symbol.dispose](): void {
    for (const chardev of this.#chardevs.values()) chardev[Symbol.dispose]();
    this.#chardevs.clear();
  }

  #refuseDuplicate(id: string): void {
    if (this.#chardevs.has(id)) throw new ChardevError(`Chardev with id '${id}' already exists`);
  }

  async #make(options: ChardevOptions): Promise<Chardev> {
    const { backend } = options;
    switch (backend.kind) {
      case "null":
        return new NullChardev(this.#environment, options);
      case "file":
        return new FileChardev(this.#environment, options, backend);
      case "stdio":
        return new StdioChardev(this.#environment, options, backend);
      case "socket":
        return await SocketChardev.create(this.#environment, options, backend);
      default:
        throw new ChardevError(`'${backend.kind}' is not a valid char driver name`);
    }
  }
}
