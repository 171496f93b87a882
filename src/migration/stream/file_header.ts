/** The header of a stream: a magic number and the version of the format. */
import type { StateReader, StateWriter } from "../../vmstate/vmstate.ts";
import { fileMagic, fileVersion, obsoleteFileVersion } from "./constants.ts";
import { StreamErrno, StreamError } from "./errors.ts";

/** Reads the header. Throws StreamError if something else is there, or another version. */
export function readFileHeader(reader: StateReader): void {
  const offset = reader.streamOffset;
  const magic = reader.u32();
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
