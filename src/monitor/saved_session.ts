/**
 * What a monitor's client would miss if its connection went on with another process: kept over a
 * live update for sessions whose character devices survive it. All of it is JSON, bytes being characters
 * (backends/byte_string.ts); the descriptors that a session holds go beside it, in the order of `available`,
 * `queue`, `arrived`.
 */
import { closeAll, type Descriptor } from "../native/descriptor.ts";

/** What a value has to be like. A session is declared by it: its type and its check are one. */
type Shape<T> = (value: unknown) => value is T;
type ShapeOf<S> = S extends Shape<infer T> ? T : never;

const text: Shape<string> = (value) => typeof value === "string";
const flag: Shape<boolean> = (value) => typeof value === "boolean";
const count: Shape<number> = (value): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;

function exactly<const T extends string>(only: T): Shape<T> {
  return (value): value is T => value === only;
}

function nullOr<T>(shape: Shape<T>): Shape<T | null> {
  return (value) => value === null || shape(value);
}

function listOf<T>(shape: Shape<T>): Shape<readonly T[]> {
  return (value) => Array.isArray(value) && value.every(shape);
}

function either<A, B>(one: Shape<A>, other: Shape<B>): Shape<A | B> {
  return (value) => one(value) || other(value);
}

/** An object with these members, and perhaps others. */
function members<const S extends Readonly<Record<string, Shape<unknown>>>>(
  shapes: S,
): Shape<{ readonly [Name in keyof S]: ShapeOf<S[Name]> }> {
  type Members = { readonly [Name in keyof S]: ShapeOf<S[Name]> };
  return (value): value is Members => {
    if (typeof value !== "object" || value === null) return false;
    const given: Readonly<Record<string, unknown>> = { ...value };
    return Object.entries(shapes).every(([name, shape]) => shape(given[name]));
  };
}

/** Something that a client sent, or an error in its place, and how many descriptors came with it. */
const savedRequest = either(
  members({ request: text, descriptors: count }),
  members({ error: text, descriptors: count }),
);
export type SavedRequest = ShapeOf<typeof savedRequest>;

const savedQmpSession = members({
  kind: exactly("qmp"),
  negotiated: flag,
  oob: flag,
  /** How many descriptors the request that brought some last has left for commands. */
  available: count,
  /** Requests that wait, as JSON, and errors in their place. */
  queue: listOf(savedRequest),
  /** How many descriptors have come with an unfinished request. */
  arrived: count,
  /** The bytes of an unfinished request. */
  input: text,
  /** The bytes of what the client has not been sent. */
  output: text,
});
/** A QMP session. */
export type SavedQmpSession = ShapeOf<typeof savedQmpSession>;

const savedLine = members({
  text,
  cursor: count,
  history: listOf(text),
  recalled: count,
  new: text,
  sequence: nullOr(text),
  afterReturn: flag,
});
/** The line that a user edits, and those before it (hmp/readline.ts). */
export type SavedLine = ShapeOf<typeof savedLine>;

const savedHumanSession = members({
  kind: exactly("human"),
  line: savedLine,
  /** Keys that have not been looked at. */
  typed: text,
  /** The bytes of a character's first bytes. */
  partial: text,
  /** A command was running: the prompt is still to come. */
  busy: flag,
  /** The vCPU that commands look at. */
  cpu: count,
  /** How many descriptors wait for a command. */
  descriptors: count,
  /** What is to be shown once the monitor has the terminal's focus. */
  kept: text,
  /** The bytes of what the user has not been shown. */
  output: text,
});
/** A human monitor. */
export type SavedHumanSession = ShapeOf<typeof savedHumanSession>;

/** Either. */
export type SavedSession = SavedQmpSession | SavedHumanSession;

/** True if `value` is a session, whatever wrote it. */
export const isSavedSession: Shape<SavedSession> = either(savedQmpSession, savedHumanSession);

/** A session of a predecessor's, with the descriptors that it held. */
export interface Restored<Saved extends SavedSession> {
  readonly saved: Saved;
  readonly descriptors: readonly Descriptor[];
}

/** A session that waits for its client, who may be there next. It owns the descriptors until then. */
export class RestoredSession<Kind extends SavedSession["kind"]> implements Disposable {
  readonly #kind: Kind;
  #held: Restored<Extract<SavedSession, { kind: Kind }>> | undefined;

  /** For sessions of this kind. */
  constructor(kind: Kind) {
    this.#kind = kind;
  }

  /** Keeps `saved` if it is of the kind; otherwise its descriptors are closed. */
  put(saved: SavedSession, descriptors: readonly Descriptor[]): void {
    this[Symbol.dispose]();
    if (this.#isOfKind(saved)) this.#held = { saved, descriptors };
    else closeAll(descriptors);
  }

  /** Gives the session to its client, and its descriptors to the caller. */
  take(): Restored<Extract<SavedSession, { kind: Kind }>> | undefined {
    const held = this.#held;
    this.#held = undefined;
    return held;
  }

  /** Nobody came. */
  [Symbol.dispose](): void {
    closeAll(this.take()?.descriptors ?? []);
  }

  #isOfKind(saved: SavedSession): saved is Extract<SavedSession, { kind: Kind }> {
    return saved.kind === this.#kind;
  }
}

/** All of `parts` in one. */
export function concatenate(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
