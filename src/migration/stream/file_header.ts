/** The header of a stream: a magic number and the version of the format. */
import type { StateReader, StateWriter } from "../../vmstate/vmstate.ts";
import { fileMagic, fileVersion, obsoleteFileVersion, voidFileMagic } from "./constants.ts";
import { StreamErrno, StreamError } from "./errors.ts";

/** The first bytes of a stream. */
export const streamMagic = bytesOf(fileMagic);
/** The same where the stream is of no use any more: its guest has run on (cpr/interim/standby.ts). */
export const voidMagic = bytesOf(voidFileMagic);

function bytesOf(magic: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, magic);
  return bytes;
}

/** Reads the header. Throws StreamError if something else is there, or another version. */
export function readFileHeader(reader: StateReader): void {
  const offset = reader.streamOffset;
  const magic = reader.u32();
  if (magic === voidFileMagic) {
    throw new StreamError("the state is void: its guest has run on in an interim monitor", offset);
  }
  if (magic !== fileMagic) {
    throw new StreamError(
      `Not a migration stream, magic: ${magic.toString(16)} != ${fileMagic.toString(16)}`,
      offset,
    );
  }
  const version = reader.u32();
  if (version === obsoleteFileVersion) {
    throw new StreamError(
      "SaveVM v2 format is obsolete and no longer supported",
      offset + 4,
      { errno: StreamErrno.ENOTSUP },
    );
  }
  if (version !== fileVersion) {
    throw new StreamError(
      `Unsupported migration stream version, file version ${version} != ${fileVersion}`,
      offset + 4,
      { errno: StreamErrno.ENOTSUP },
    );
  }
}

/** Writes the header. */
export function writeFileHeader(writer: StateWriter): void {
  writer.u32(fileMagic);
  writer.u32(fileVersion);
}
