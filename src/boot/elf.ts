/**
 * Reads what booting an ELF kernel needs: loadable segments and notes. Source: System V ABI,
 * "Object Files", for both classes. The file is hostile: every offset is checked before use.
 *
 *     header -> program headers -> PT_LOAD segments, PT_NOTE notes
 */

import { BootError, type BootFile } from "./boot.ts";

/** Bytes of the file that go to `address`, followed by zeros up to `memorySize`. */
export interface ElfSegment {
  /** Guest physical (p_paddr). */
  readonly address: number;
  readonly memorySize: number;
  /** A view into the file. */
  readonly bytes: Uint8Array;
}

export interface ElfNote {
  readonly name: string;
  readonly type: number;
  /** A view into the file. */
  readonly description: Uint8Array;
}

export interface ElfKernel {
  readonly machine: "x86-64" | "i386";
  readonly segments: readonly ElfSegment[];
  readonly notes: readonly ElfNote[];
}

const loadType = 1;
const noteType = 4;
/** Kernels have fewer than ten program headers. */
const maximumProgramHeaders = 128;
const maximumNotes = 1024;

/** Whether a file starts like an ELF file. */
export function isElf(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c &&
    bytes[3] === 0x46;
}

/** Throws {@linkcode BootError} naming the file and the field at fault. */
export function parseElf(file: BootFile): ElfKernel {
  const fail = (reason: string): never => {
    throw new BootError(`could not load kernel '${file.name}': ${reason}`);
  };
  const { bytes } = file;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (!isElf(bytes)) fail("not an ELF file");
  const is64 = bytes[4] === 2;
  if (!is64 && bytes[4] !== 1) fail(`unknown ELF class ${bytes[4]}`);
  if (bytes[5] !== 1) fail("not a little-endian ELF file");
  if (bytes.length < (is64 ? 64 : 52)) fail("ELF header is truncated");

  /** Also for 64-bit fields: a value that is not a safe integer fails every range check. */
  const word = (offset: number): number =>
    is64 ? Number(view.getBigUint64(offset, true)) : view.getUint32(offset, true);

  const machineNumber = view.getUint16(18, true);
  const machine = machineNumber === 62
    ? "x86-64"
    : machineNumber === 3
    ? "i386"
    : fail(`machine ${machineNumber} is not x86`);
  const headerOffset = word(is64 ? 32 : 28);
  const entrySize = view.getUint16(is64 ? 54 : 42, true);
  const count = view.getUint16(is64 ? 56 : 44, true);
  if (entrySize !== (is64 ? 56 : 32)) fail(`program header entry size is ${entrySize}`);
  if (count > maximumProgramHeaders) fail(`${count} program headers are too many`);
  if (headerOffset > bytes.length - count * entrySize) {
    fail("program headers lie beyond the end of the file");
  }

  const segments: ElfSegment[] = [];
  const notes: ElfNote[] = [];
  for (let index = 0; index < count; index++) {
    const header = headerOffset + index * entrySize;
    const type = view.getUint32(header, true);
    if (type !== loadType && type !== noteType) continue;
    const offset = word(header + (is64 ? 8 : 4));
    const address = word(header + (is64 ? 24 : 12));
    const fileSize = word(header + (is64 ? 32 : 16));
    const memorySize = word(header + (is64 ? 40 : 20));
    const alignment = word(header + (is64 ? 48 : 28));
    if (fileSize > bytes.length || offset > bytes.length - fileSize) {
      fail(`program header ${index} lies beyond the end of the file`);
    }
    const content = bytes.subarray(offset, offset + fileSize);
    if (type === noteType) {
      readNotes(content, alignment === 8 ? 8 : 4, notes);
    } else if (memorySize > 0) {
      if (fileSize > memorySize) {
        fail(`program header ${index} has more bytes in the file than in memory`);
      }
      if (!Number.isSafeInteger(address + memorySize)) {
        fail(`program header ${index} lies outside memory`);
      }
      segments.push({ address, memorySize, bytes: content });
    }
  }
  return { machine, segments, notes };
}

/** Appends the notes of one PT_NOTE segment; a malformed note ends it. */
function readNotes(bytes: Uint8Array, alignment: 4 | 8, notes: ElfNote[]): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const align = (value: number) => Math.ceil(value / alignment) * alignment;
  let offset = 0;
  while (offset + 12 <= bytes.length && notes.length < maximumNotes) {
    const nameSize = view.getUint32(offset, true);
    const descriptionSize = view.getUint32(offset + 4, true);
    const type = view.getUint32(offset + 8, true);
    const description = align(offset + 12 + nameSize);
    const end = description + descriptionSize;
    if (end > bytes.length) return;
    notes.push({
      name: latin1(bytes.subarray(offset + 12, offset + 12 + Math.max(0, nameSize - 1))),
      type,
      description: bytes.subarray(description, end),
    });
    offset = align(end);
  }
}

function latin1(bytes: Uint8Array): string {
  return bytes.length > 64 ? "" : String.fromCharCode(...bytes);
}
