/**
 * What a monitor's client would miss if its connection went on with another process: kept over a
 * live update for sessions whose character devices survive it. All of it is JSON.
 */

/** A QMP session. */
export interface SavedQmpSession {
  readonly kind: "qmp";
  readonly negotiated: boolean;
  readonly oob: boolean;
  /** Requests that wait, as JSON, and errors in their place. */
  readonly queue: readonly ({ readonly request: string } | { readonly error: string })[];
  /** Base64 of an unfinished request. */
  readonly input: string;
  /** Base64 of what the client has not been sent. */
  readonly output: string;
}

/** A human monitor. */
export interface SavedHumanSession {
  readonly kind: "human";
  /** The line being typed. */
  readonly line: string;
  /** Keys that have not been looked at. */
  readonly typed: string;
  readonly history: readonly string[];
  /** A command was running: the prompt is still to come. */
  readonly busy: boolean;
  /** Base64 of what the user has not been shown. */
  readonly output: string;
}

/** Either. */
export type SavedSession = SavedQmpSession | SavedHumanSession;

/** Bytes as base64. */
export function encodeBase64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  }
  return btoa(text);
}

/** The bytes that base64 `text` stands for. */
export function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
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
