/**
 * What survives a live update, in one registry. Subsystems add themselves, and are asked when the time
 * has come: for descriptors, which go by (name, id), and for whatever a successor needs to go on with
 * them, which goes as JSON in a small memfd beside them.
 *
 *   cpr-exec      collect(): descriptors and data -> execve
 *   cpr-transfer  announce(): descriptors, and the data so far -> the guest stops -> complete(): the data
 *   successor     receive() -> adopt() while it creates its parts, which do not use what they adopted
 *                 -> the guest is here -> begin(): parts get their data and go on
 *
 * The memfd is shared, so that data can follow descriptors that went ahead. What nobody has adopted at
 * begin() is closed.
 */
import type { Descriptor, Fd } from "../../native/descriptor.ts";
import { createGrowingMemfd, readAt, status, writeAt } from "../../native/file.ts";
import { MigrationError } from "../errors.ts";
import type { InheritedDescriptors, KeptDescriptor } from "./descriptors.ts";

/** The name of the memfd with the data. */
export const DATA_NAME = "molt/survivors";
/** The data's layout. A successor that knows only another one goes on without the data. */
const DATA_VERSION = 1;
/** Most bytes of data: replies that clients have not read are the bulk of it. */
const DATA_LIMIT = 256 << 20;

/** The data as a successor understands it. */
interface Data {
  /** Nothing has happened since it was written. */
  readonly complete: boolean;
  /** By the entries' names. */
  readonly survivors: Readonly<Record<string, unknown>>;
}

/** A subsystem of which something survives. */
export interface HandoverEntry {
  /** The key of its data. */
  readonly name: string;
  /** What has to stay open. Names and ids are unique among all entries. */
  descriptors(): readonly KeptDescriptor[];
  /** What else a successor needs: of JSON types. */
  save?(): unknown;
  /** Goes on where a predecessor stopped; `undefined`: it has reported nothing. */
  restore?(saved: unknown): void;
  /** Everybody has been restored: descriptors may be used. */
  begin?(): void;
}

/** What this process took over from its predecessor, and what it has for its successor. */
export class HandoverRegistry implements Disposable {
  readonly #entries: HandoverEntry[] = [];
  #inherited: InheritedDescriptors | undefined;
  readonly #adopted = new Set<string>();
  /** The predecessor's data, and that for the successor. */
  #received: Descriptor | undefined;
  #data: Descriptor | undefined;
  /** For an interim monitor. */
  #excerpt: Descriptor | undefined;
  #takesOver = false;
  #announced: ReadonlySet<string> = new Set();

  /** Takes ownership of what a predecessor left, in place of what an earlier one did. */
  receive(inherited: InheritedDescriptors): void {
    this.discard();
    this.#inherited = inherited.move();
    this.#received = this.#inherited.take(DATA_NAME);
    this.#takesOver = true;
  }

  /** The guest is still another process's: what is adopted must not be used yet. */
  get takesOver(): boolean {
    return this.#takesOver;
  }

  /** The names under which something was adopted; `undefined` if there was no predecessor. */
  get adopted(): ReadonlySet<string> | undefined {
    return this.#inherited === undefined ? undefined : this.#adopted;
  }

  /** The descriptor that a predecessor left, now the caller's; `undefined` if it left none. */
  adopt(name: string, id = 0): Descriptor | undefined {
    const descriptor = this.#inherited?.take(name, id);
    if (descriptor !== undefined) this.#adopted.add(name);
    return descriptor;
  }

  /** Adds a subsystem. They are asked, restored and begun in the order in which they were added. */
  add(entry: HandoverEntry): void {
    this.#entries.push(entry);
  }

  /** What a predecessor has saved of the entry `name` so far. */
  saved(name: string): unknown {
    return this.#readData()?.survivors[name];
  }

  /** The guest is here: everything that a predecessor left goes on. */
  begin(): void {
    if (!this.#takesOver) return;
    this.#takesOver = false;
    const data = this.#readData();
    // A source that died as it handed over may not have reported all: then clients connect again.
    const saved = data?.complete ? data.survivors : {};
    for (const entry of this.#entries) entry.restore?.(saved[entry.name]);
    for (const entry of this.#entries) entry.begin?.();
    this.#received?.[Symbol.dispose]();
    this.#received = undefined;
    this.#inherited?.[Symbol.dispose]();
  }

  /** All that is to stay open. The data is true until something else happens in this process. */
  collect(): KeptDescriptor[] {
    return this.#list(true);
  }

  /** Data of some entries, for an interim monitor, which gets nothing else. Replaces an earlier one. */
  excerpt(survivors: Readonly<Record<string, unknown>>): KeptDescriptor {
    this.#excerpt?.[Symbol.dispose]();
    this.#excerpt = createGrowingMemfd(DATA_NAME);
    const { fd } = this.#excerpt;
    const text = JSON.stringify({ version: DATA_VERSION, complete: false, survivors });
    writeAt(fd, new Uint8Array(new TextEncoder().encode(text)), 0);
    return { name: DATA_NAME, id: 0, fd };
  }

  /** All that is to be handed over ahead. The guest and its clients go on meanwhile. */
  announce(): KeptDescriptor[] {
    const kept = this.#list(false);
    this.#announced = new Set(kept.map(keyOf));
    return kept;
  }

  /** Gives a successor that has the descriptors all it needs. Throws if it lacks one by now. */
  complete(): void {
    for (const entry of this.#entries) {
      for (const kept of entry.descriptors()) {
        if (this.#announced.has(keyOf(kept))) continue;
        throw new MigrationError(
          `'${kept.name}' ${kept.id} came after the descriptors were handed over: try again`,
        );
      }
    }
    this.#writeData(true);
  }

  /** There is no successor: what was reported to it is forgotten. */
  rollback(): void {
    this.#data?.[Symbol.dispose]();
    this.#data = undefined;
    this.#excerpt?.[Symbol.dispose]();
    this.#excerpt = undefined;
    this.#announced = new Set();
  }

  /** Closes what nobody has adopted. */
  discard(): void {
    this.#received?.[Symbol.dispose]();
    this.#received = undefined;
    this.#inherited?.[Symbol.dispose]();
    this.#inherited = undefined;
    this.#adopted.clear();
    this.#takesOver = false;
  }

  [Symbol.dispose](): void {
    this.discard();
    this.rollback();
  }

  #list(complete: boolean): KeptDescriptor[] {
    const kept = this.#entries.flatMap((entry) => [...entry.descriptors()]);
    return [...kept, { name: DATA_NAME, id: 0, fd: this.#writeData(complete) }];
  }

  /** `undefined` if there is nothing that is understood: then clients' sessions end, and the guest lives. */
  #readData(): Data | undefined {
    if (this.#received === undefined) return undefined;
    const { fd } = this.#received;
    const { size } = status(fd);
    if (size > DATA_LIMIT) return undefined;
    const bytes = new Uint8Array(size);
    return readAt(fd, bytes, 0) === size ? parseData(new TextDecoder().decode(bytes)) : undefined;
  }

  /** Throws if it is more than a successor would read. */
  #writeData(complete: boolean): Fd {
    const survivors = Object.fromEntries(
      this.#entries.map((entry) => [entry.name, entry.save?.()]),
    );
    const text = JSON.stringify({ version: DATA_VERSION, complete, survivors });
    // The file cannot shrink: what is longer there is overwritten with spaces.
    const there = this.#data === undefined ? 0 : status(this.#data.fd).size;
    const bytes = new Uint8Array(new TextEncoder().encode(text.padEnd(there)));
    if (bytes.length > DATA_LIMIT) {
      throw new MigrationError(
        `what survives has ${bytes.length} bytes of data, more than ${DATA_LIMIT}: a monitor's ` +
          "client does not read its replies",
      );
    }
    this.#data ??= createGrowingMemfd(DATA_NAME);
    const { fd } = this.#data;
    writeAt(fd, bytes, 0);
    return fd;
  }
}

function keyOf({ name, id }: KeptDescriptor): string {
  return `${id} ${name}`;
}

function parseData(text: string): Data | undefined {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return undefined;
  }
  if (typeof data !== "object" || data === null) return undefined;
  const { version, complete, survivors }: { [Name in keyof Data | "version"]?: unknown } = data;
  if (version !== DATA_VERSION || typeof survivors !== "object" || survivors === null) {
    return undefined;
  }
  return { complete: complete === true, survivors: { ...survivors } };
}
