/**
 * What a monitor's client would miss if its connection went on with another process: kept over a
 * live update for sessions whose character devices survive it. All of it is JSON, bytes being characters
 * (backends/byte_string.ts); the descriptors that
 * a session holds go beside it, in the order of {@linkcode SavedQmpSession.available}, the queue,
 * {@linkcode SavedQmpSession.arrived}.
 */
import type { ReadlineState } from "./hmp/readline.ts";

/** A QMP session. */
export interface SavedQmpSession {
  readonly kind: "qmp";
  readonly negotiated: boolean;
  readonly oob: boolean;
  /** How many descriptors the request that brought some last has left for commands. */
  readonly available: number;
  /** Requests that wait, as JSON, and errors in their place. */
  readonly queue: readonly SavedRequest[];
  /** How many descriptors have come with an unfinished request. */
  readonly arrived: number;
  /** The bytes of an unfinished request. */
  readonly input: string;
  /** The bytes of what the client has not been sent. */
  readonly output: string;
}

/** Something that a client sent, and the number of descriptors that came with it. */
export type SavedRequest =
  & ({ readonly request: string } | { readonly error: string })
  & { readonly descriptors: number };

/** A human monitor. */
export interface SavedHumanSession {
  readonly kind: "human";
  readonly line: ReadlineState;
  /** Keys that have not been looked at. */
  readonly typed: string;
  /** The bytes of a character's first bytes. */
  readonly partial: string;
  /** A command was running: the prompt is still to come. */
  readonly busy: boolean;
  /** The vCPU that commands look at. */
  readonly cpu: number;
  /** How many descriptors wait for a command. */
  readonly descriptors: number;
  /** What is to be shown once the monitor has the terminal's focus. */
  readonly kept: string;
  /** The bytes of what the user has not been shown. */
  readonly output: string;
}

/** Either. */
export type SavedSession = SavedQmpSession | SavedHumanSession;

type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === "string";
const isFlag: Check = (value) => typeof value === "boolean";
const isCount: Check = (value) => Number.isSafeInteger(value) && Number(value) >= 0;
const isListOf = (check: Check): Check => (value) => Array.isArray(value) && value.every(check);

function hasMembers(value: unknown, members: Readonly<Record<string, Check>>): boolean {
  if (typeof value !== "object" || value === null) return false;
  const given: Readonly<Record<string, unknown>> = { ...value };
  return Object.entries(members).every(([name, check]) => check(given[name]));
}

const isRequest: Check = (value) =>
  hasMembers(value, { descriptors: isCount }) &&
  (hasMembers(value, { request: isText }) || hasMembers(value, { error: isText }));

const isLine: Check = (value) =>
  hasMembers(value, {
    text: isText,
    cursor: isCount,
    history: isListOf(isText),
    recalled: isCount,
    new: isText,
    sequence: (sequence) => sequence === null || isText(sequence),
    afterReturn: isFlag,
  });

/** True if `value` is a session, whatever wrote it. */
export function isSavedSession(value: unknown): value is SavedSession {
  return hasMembers(value, {
    kind: (kind) => kind === "qmp",
    negotiated: isFlag,
    oob: isFlag,
    available: isCount,
    queue: isListOf(isRequest),
    arrived: isCount,
    input: isText,
    output: isText,
  }) || hasMembers(value, {
    kind: (kind) => kind === "human",
    line: isLine,
    typed: isText,
    partial: isText,
    busy: isFlag,
    cpu: isCount,
    descriptors: isCount,
    kept: isText,
    output: isText,
  });
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
