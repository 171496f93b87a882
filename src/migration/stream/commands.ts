/**
 * Commands: items of the stream that say something to the other side. On the wire: byte 8, u16 code,
 * u16 length, payload.
 */
import { type StateReader, StateWriter } from "../../vmstate/vmstate.ts";
import { CommandCode } from "./constants.ts";
import { StreamErrno, StreamError } from "./errors.ts";

/** A range of a block, in bytes. */
export interface DiscardRange {
  readonly start: bigint;
  readonly length: bigint;
}

/** A command and its payload. */
export type Command =
  /** The other side is to answer on the same connection from now on. */
  | { readonly name: "OPEN_RETURN_PATH" }
  /** To be answered by a PONG with the same value. */
  | { readonly name: "PING"; readonly value: number }
  /** Postcopy may follow. Page sizes in use, or nothing when only bitmaps are to be sent so. */
  | {
    readonly name: "POSTCOPY_ADVISE";
    readonly pageSizes?: bigint;
    readonly targetPageSize?: bigint;
  }
  | { readonly name: "POSTCOPY_LISTEN" }
  | { readonly name: "POSTCOPY_RUN" }
  /** Pages that were sent and have changed since. */
  | {
    readonly name: "POSTCOPY_RAM_DISCARD";
    readonly block: string;
    readonly ranges: readonly DiscardRange[];
  }
  /** A stream of `length` bytes follows inside this one. */
  | { readonly name: "PACKAGED"; readonly length: number }
  | { readonly name: "ENABLE_COLO" }
  | { readonly name: "POSTCOPY_RESUME" }
  /** Which pages of the block have been received? */
  | { readonly name: "RECV_BITMAP"; readonly block: string }
  /** The guest is stopped; what follows completes the migration. */
  | { readonly name: "SWITCHOVER_START" }
  /** Behind the end of the stream: the loaded guest may start, the source has given it up. */
  | { readonly name: "COMMIT" }
  /** Behind the end of the stream: the source has taken the guest back. */
  | { readonly name: "ABORT" };

/** Names of the commands. */
export type CommandName = Command["name"];

/** Code and length of the payload (`undefined`: it varies) of each command. */
const commands: Readonly<Record<CommandName, readonly [code: number, length: number | undefined]>> =
  {
    OPEN_RETURN_PATH: [CommandCode.openReturnPath, 0],
    PING: [CommandCode.ping, 4],
    POSTCOPY_ADVISE: [CommandCode.postcopyAdvise, undefined],
    POSTCOPY_LISTEN: [CommandCode.postcopyListen, 0],
    POSTCOPY_RUN: [CommandCode.postcopyRun, 0],
    POSTCOPY_RAM_DISCARD: [CommandCode.postcopyRamDiscard, undefined],
    PACKAGED: [CommandCode.packaged, 4],
    ENABLE_COLO: [CommandCode.enableColo, 0],
    POSTCOPY_RESUME: [CommandCode.postcopyResume, 0],
    RECV_BITMAP: [CommandCode.recvBitmap, undefined],
    SWITCHOVER_START: [CommandCode.switchoverStart, 0],
    COMMIT: [CommandCode.commit, 0],
    ABORT: [CommandCode.abort, 0],
  };

const nameByCode = new Map(
  (Object.keys(commands) as CommandName[]).map((name) => [commands[name][0], name]),
);

/** Reads a command (without the byte before it). */
export function readCommand(reader: StateReader): Command {
  const offset = reader.streamOffset;
  const code = reader.u16();
  const length = reader.u16();
  const name = nameByCode.get(code);
  if (name === undefined) {
    throw new StreamError(
      `MIG_CMD 0x${code.toString(16)} unknown (len 0x${length.toString(16)})`,
      offset,
    );
  }
  const expected = commands[name][1];
  if (expected !== undefined && length !== expected) {
    throw badLength(
      `${name} received with bad length - expecting ${expected}, got ${length}`,
      offset,
    );
  }
  // The whole payload has to be there before any of it is looked at.
  const end = reader.skip(length) + length;
  reader.offset = end - length;
  const command = readPayload(reader, name, end, offset);
  if (reader.offset !== end) throw badLength(`CMD_${name} invalid length (${length})`, offset);
  return command;
}

function badLength(reason: string, offset: number): StreamError {
  return new StreamError(reason, offset, { errno: StreamErrno.ERANGE });
}

function readPayload(reader: StateReader, name: CommandName, end: number, offset: number): Command {
  const left = () => end - reader.offset;
  /** A block's name, which may not reach beyond the payload. */
  const blockName = () => {
    if (left() === 0) throw badLength(`CMD_${name} invalid length`, offset);
    const length = reader.u8();
    if (length === 0 || length > left()) throw badLength(`CMD_${name} invalid length`, offset);
    return reader.latin1(length);
  };
  switch (name) {
    case "PING":
      return { name, value: reader.u32() };
    case "PACKAGED":
      return { name, length: reader.u32() };
    case "POSTCOPY_ADVISE":
      return left() < 16
        ? { name }
        : { name, pageSizes: reader.u64(), targetPageSize: reader.u64() };
    case "RECV_BITMAP":
      return { name, block: blockName() };
    case "POSTCOPY_RAM_DISCARD": {
      const version = left() > 0 ? reader.u8() : 0;
      if (version !== 0) {
        throw new StreamError(`CMD_POSTCOPY_RAM_DISCARD invalid version (${version})`, offset);
      }
      const block = blockName();
      if (left() < 1 || reader.u8() !== 0) {
        throw new StreamError("CMD_POSTCOPY_RAM_DISCARD missing nil", offset);
      }
      const ranges: DiscardRange[] = [];
      while (left() >= 16) ranges.push({ start: reader.u64(), length: reader.u64() });
      return { name, block, ranges };
    }
    default:
      return { name };
  }
}

/** Writes a command (without the byte before it). */
export function writeCommand(writer: StateWriter, command: Command): void {
  const payload = new StateWriter(64);
  switch (command.name) {
    case "PING":
      payload.u32(command.value);
      break;
    case "PACKAGED":
      payload.u32(command.length);
      break;
    case "POSTCOPY_ADVISE":
      if (command.pageSizes === undefined || command.targetPageSize === undefined) break;
      payload.u64(command.pageSizes);
      payload.u64(command.targetPageSize);
      break;
    case "RECV_BITMAP":
      payload.string8(command.block);
      break;
    case "POSTCOPY_RAM_DISCARD":
      payload.u8(0);
      payload.string8(command.block);
      payload.u8(0);
      for (const range of command.ranges) {
        payload.u64(range.start);
        payload.u64(range.length);
      }
      break;
  }
  if (payload.length > 0xffff) {
    throw new RangeError(`command ${command.name} has a payload of ${payload.length} bytes`);
  }
  writer.u16(commands[command.name][0]);
  writer.u16(payload.length);
  writer.raw(payload.bytes);
}
