/**
 * CPR state: the descriptors that the next process takes over, by name and id.
 *
 *     u32 QCPR, u32 1, list of { u32 length, name and NUL, i32 id, descriptor }, subsection with VFIO devices
 *
 * cpr-exec writes it to a memfd, where a descriptor is its number (i32): it stays open across execve.
 * cpr-transfer sends it over a unix socket, where a descriptor is a byte 0x20 that carries it as
 * SCM_RIGHTS; descriptors belong to entries in the order in which they come. The socket's writing side has
 * to be shut down after the state, since a reader looks whether another subsection follows.
 */
import {
  Field,
  i32,
  list,
  nested,
  type StateDescription,
  type StateOf,
  StateReader,
  StateWriter,
  struct,
  subsection,
  u32,
  VmStateError,
} from "../../vmstate/vmstate.ts";

const magic = 0x51435052;
const version = 1;
/** Most entries read. */
const entryMaximum = 4096;
/** Longest name read, in bytes, with its NUL. */
const nameMaximum = 1024;
/** The byte that carries a descriptor. */
export const descriptorByte = 0x20;

/** u32 length that counts a NUL, then the name and the NUL. */
class CountedNameField extends Field<string> {
  readonly type = "buffer";
  readonly fixedSize = undefined;

  read(reader: StateReader): string {
    const length = reader.count(nameMaximum);
    const name = reader.latin1(length);
    if (name.indexOf("\0") !== length - 1) {
      throw reader.error("name does not end with a NUL", reader.offset - length);
    }
    return name.slice(0, -1);
  }

  write(writer: StateWriter, value: string): void {
    if (value.length >= nameMaximum) {
      throw new VmStateError(`name '${value}' is longer than ${nameMaximum - 1} bytes`);
    }
    writer.u32(value.length + 1);
    writer.latin1(value);
    writer.u8(0);
  }

  override size(value: string): number {
    return 4 + value.length + 1;
  }

  zero(): string {
    return "";
  }
}

/** The byte by which a descriptor comes. The state does not have it. */
class DescriptorByteField extends Field<never> {
  readonly type = "unused_buffer";
  readonly fixedSize = 1;

  read(reader: StateReader): never {
    const byte = reader.u8();
    if (byte !== descriptorByte) {
      throw reader.error(
        `cpr-in unexpected service byte: ${byte}(${String.fromCharCode(byte)})`,
        reader.offset - 1,
      );
    }
    return undefined as never;
  }

  write(writer: StateWriter): void {
    writer.u8(descriptorByte);
  }

  zero(): never {
    return undefined as never;
  }
}

const vfioDevice = struct({
  name: "cpr vfio device",
  version: 1,
  fields: { name: new CountedNameField(), devid: i32(), ioasId: u32(), hwptId: u32() },
});

/** Always written, though it may be absent when read. */
const vfioDevices = subsection({
  name: "CprState/vfio devices",
  version: 1,
  field: list(nested(vfioDevice), entryMaximum, { name: "vfio_devices", since: 1 }),
});

/** State in a memfd (cpr-exec): entries have descriptor numbers. */
export const cprExecState = struct({
  name: "CprState",
  version: 1,
  fields: {
    fds: list(
      nested(struct({
        name: "cpr fd",
        version: 1,
        fields: { name: new CountedNameField(), id: i32(), fd: i32() },
      })),
      entryMaximum,
      { since: 1 },
    ),
  },
  subsections: { vfioDevices },
});

/** State on a socket (cpr-transfer): descriptors come beside it. */
export const cprTransferState = struct({
  name: "CprState",
  version: 1,
  fields: {
    fds: list(
      nested(struct({
        name: "cpr fd",
        version: 1,
        fields: { name: new CountedNameField(), id: i32(), fd: new DescriptorByteField() },
      })),
      entryMaximum,
      { since: 1 },
    ),
  },
  subsections: { vfioDevices },
});

export type CprExecState = StateOf<typeof cprExecState>;
export type CprTransferState = StateOf<typeof cprTransferState>;

/** CPR state as bytes, from the magic on. */
export function encodeCprState<State>(
  description: StateDescription<State>,
  state: State,
): Uint8Array<ArrayBuffer> {
  const writer = new StateWriter(4096);
  writer.u32(magic);
  writer.u32(version);
  description.encode(writer, state);
  return writer.bytes;
}

/**
 * CPR state from bytes. With `final` the bytes are all there are; without, OutOfDataError is thrown until
 * something follows the state. Other violations are VmStateErrors.
 */
export function decodeCprState<State>(
  description: StateDescription<State>,
  bytes: Uint8Array,
  final = true,
): State {
  const reader = new StateReader(bytes, { final });
  const foundMagic = reader.u32();
  if (foundMagic !== magic) {
    throw reader.error(`Not a migration stream (bad magic ${foundMagic.toString(16)})`, 0);
  }
  const foundVersion = reader.u32();
  if (foundVersion !== version) {
    throw reader.error(`Unsupported migration stream version ${foundVersion}`, 4);
  }
  const state = description.decode(reader, version);
  if (final && reader.remaining > 0) throw reader.error("something else follows the CPR state");
  return state;
}
