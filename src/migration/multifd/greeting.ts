/** The first 64 bytes of each multifd connection. Numbers are big-endian. */
import { MigrationError } from "../errors.ts";

/** Bytes of a greeting. */
export const GREETING_SIZE = 64;

const MAGIC = 0x11223344;
const VERSION = 1;
const UUID_OFFSET = 8;
const UUID_SIZE = 16;
const ID_OFFSET = 24;

/** What the greeting of connection `id` says. `uuid` is the machine's, if it has one. */
export function writeGreeting(id: number, uuid: Uint8Array | undefined): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(GREETING_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC);
  view.setUint32(4, VERSION);
  if (uuid !== undefined) bytes.set(uuid, UUID_OFFSET);
  bytes[ID_OFFSET] = id;
  return bytes;
}

/** Checks a greeting and returns the connection's id. Throws with QEMU's text. */
export function readGreeting(
  bytes: Uint8Array<ArrayBuffer>,
  uuid: Uint8Array | undefined,
  channels: number,
): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, GREETING_SIZE);
  const magic = view.getUint32(0);
  const version = view.getUint32(4);
  const id = view.getUint8(ID_OFFSET);
  if (magic !== MAGIC) {
    throw new MigrationError(
      `multifd: received packet magic ${magic.toString(16)} expected ${MAGIC.toString(16)}`,
    );
  }
  if (version !== VERSION) {
    throw new MigrationError(`multifd: received packet version ${version} expected ${VERSION}`);
  }
  const received = formatUuid(bytes.subarray(UUID_OFFSET, UUID_OFFSET + UUID_SIZE));
  const expected = formatUuid(uuid ?? new Uint8Array(UUID_SIZE));
  if (received !== expected) {
    throw new MigrationError(
      `multifd: received uuid '${received}' and expected uuid '${expected}' for channel ${id}`,
    );
  }
  if (id >= channels) {
    throw new MigrationError(
      `multifd: received channel id ${id} exceeds channel count ${channels}`,
    );
  }
  return id;
}

function formatUuid(bytes: Uint8Array): string {
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
