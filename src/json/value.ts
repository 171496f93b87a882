/** JSON as QMP carries it. */

/**
 * A JSON value. Integers that a number cannot hold exactly are bigints, up to 64 bits; parsed objects
 * have no prototype, so that no key means anything but itself.
 */
export type JsonValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly JsonValue[]
  | JsonObject;

/** A JSON object. Members that are `undefined` are not written. */
export interface JsonObject {
  [key: string]: JsonValue | undefined;
}

/** Input that is no JSON. The message is the one QEMU reports. */
export class JsonSyntaxError extends Error {
  override readonly name = "JsonSyntaxError";
}

/** True for an object, not for an array or null. */
export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
