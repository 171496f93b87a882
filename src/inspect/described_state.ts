/**
 * States of devices that molt does not have, read by what the stream says of them (vm_description.ts) or,
 * where it says nothing, up to where the next section begins. Their value is their bytes; the names and
 * values of their fields are in the trace.
 */
import { SectionType } from "../migration/stream/constants.ts";
import { OutOfDataError, type StateDescription, type StateReader } from "../vmstate/vmstate.ts";
import type { DescribedField, DescribedSection, DescribedStructure } from "./vm_description.ts";

/** Any version: what was written is described, not what a device of ours can read. */
const NEWEST = 0xffff_ffff;
/** How many more bytes are asked for while the end of a section is looked for. */
const MORE = 1 << 16;

/** The state of a section as its stream describes it. */
export function describedState(section: DescribedSection): StateDescription<Uint8Array> {
  return bytesOf(section.vmsd_name ?? section.name, (reader) => readMembers(reader, section));
}

/**
 * The state of a section that nothing is known of, with the number `sectionId`: it ends where there is a
 * footer with that number and a byte that can begin what follows a section.
 */
export function unknownState(idstr: string, sectionId: number): StateDescription<Uint8Array> {
  return bytesOf(idstr, (reader) => {
    const start = reader.offset;
    const offset = reader.streamOffset;
    const end = footerAt(reader, sectionId);
    const value = reader.copy(end - start);
    reader.trace?.push({ path: "data", offset, size: value.length, type: "buffer", value });
  });
}

/** A state whose value is the bytes that `read` goes over. */
function bytesOf(name: string, read: (reader: StateReader) => void): StateDescription<Uint8Array> {
  return {
    name,
    version: NEWEST,
    minimumVersion: 0,
    decode(reader) {
      const start = reader.offset;
      read(reader);
      return reader.bytes.slice(start, reader.offset);
    },
    encode: (writer, state) => writer.raw(state),
    describe: (state) =>
      `"vmsd_name": ${JSON.stringify(name)}, "version": 1, "fields": [` +
      `{"name": "data", "type": "buffer", "size": ${state.length}}]`,
  };
}

function footerAt(reader: StateReader, sectionId: number): number {
  const { bytes, end } = reader;
  const view = new DataView(bytes.buffer, bytes.byteOffset, end);
  for (let at = reader.offset; at + 5 < end; at++) {
    if (bytes[at] !== SectionType.footer || view.getUint32(at + 1) !== sectionId) continue;
    if (canBegin.has(bytes[at + 5] ?? 0)) return at;
  }
  if (!reader.final) {
    throw new OutOfDataError(Math.max(MORE, reader.remaining), reader.streamOffset);
  }
  throw reader.error("the stream does not describe the section, and its end cannot be found");
}

const canBegin: ReadonlySet<number> = new Set([
  ...[SectionType.eof, SectionType.start, SectionType.part, SectionType.end, SectionType.full],
  SectionType.command,
]);

type Members = Pick<DescribedStructure, "fields" | "subsections">;

function readMembers(reader: StateReader, { fields = [], subsections = [] }: Members): void {
  for (const field of fields) readField(reader, field);
  for (const subsection of subsections) readSubsection(reader, subsection);
}

function readSubsection(reader: StateReader, subsection: DescribedStructure): void {
  const { vmsd_name: name } = subsection;
  const start = reader.offset;
  if (reader.u8() !== SectionType.subsection || reader.string8() !== name) {
    throw reader.error(`the described subsection '${name}' does not begin here`, start);
  }
  reader.u32();
  inside(reader, name, () => readMembers(reader, subsection));
}

function readField(reader: StateReader, field: DescribedField): void {
  const { name, size, array_len: length, index } = field;
  if (length === undefined) {
    const path = index === undefined ? name : `${name}[${index}]`;
    return inside(reader, path, () => readElement(reader, field));
  }
  // Nothing that is described takes more bytes than there are.
  const all = length * size;
  if (all > reader.remaining) throw new OutOfDataError(all - reader.remaining, reader.streamOffset);
  if (size === 0) return;
  if (isBytes(field) && size === 1) {
    return inside(reader, name, () => push(reader, field, all, () => reader.copy(all)));
  }
  for (let i = 0; i < length; i++) {
    inside(reader, `${name}[${i}]`, () => readElement(reader, field));
  }
}

/** A field that is no array, or one of the elements. It must end where its size says. */
function readElement(reader: StateReader, field: DescribedField): void {
  const { type, size, struct, fields } = field;
  const end = reader.offset + size;
  if (end > reader.end) throw new OutOfDataError(end - reader.end, reader.streamOffset);
  if (struct !== undefined) readMembers(reader, struct);
  else if (fields !== undefined) readMembers(reader, { fields });
  else push(reader, field, size, () => scalar(reader, type, size));
  if (reader.offset !== end) {
    throw reader.error(`described as ${size} bytes, its members as ${reader.offset - end + size}`);
  }
}

function push(
  reader: StateReader,
  { type }: DescribedField,
  size: number,
  read: () => unknown,
): void {
  const offset = reader.streamOffset;
  const value = read();
  if (size > 0) reader.trace?.push({ path: reader.tracePath, offset, size, type, value });
}

function isBytes({ type, struct, fields }: DescribedField): boolean {
  return struct === undefined && fields === undefined && !/^(u?int\d+|bool|timer)/.test(type);
}

/** `uint32`, `int32 equal`, `int32 le` and the like are numbers; what nobody says more of is bytes. */
function scalar(reader: StateReader, type: string, size: number): unknown {
  const signed = /^(int\d+|timer)/.test(type);
  if (!signed && !/^uint\d+/.test(type)) {
    return type === "bool" && size === 1 ? reader.u8() !== 0 : reader.copy(size);
  }
  switch (size) {
    case 1:
      return signed ? reader.i8() : reader.u8();
    case 2:
      return signed ? reader.i16() : reader.u16();
    case 4:
      return signed ? reader.i32() : reader.u32();
    case 8:
      return signed ? reader.i64() : reader.u64();
    default:
      return reader.copy(size);
  }
}

/** Reads a member, which errors and traces call `name`. */
function inside(reader: StateReader, name: string, read: () => void): void {
  const outer = reader.tracePath;
  reader.tracePath = outer === "" ? name : `${outer}.${name}`;
  try {
    read();
  } finally {
    reader.tracePath = outer;
  }
}
