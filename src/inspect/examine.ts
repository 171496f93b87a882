/** Opens a file and finds out what it is and what it holds. */
import { Errno, SystemError } from "../native/errors.ts";
import { openFile, OpenFlags, readAt, seek, status, Whence } from "../native/file.ts";
import type { Fd } from "../native/descriptor.ts";
import { examineCprState } from "./cpr.ts";
import type { OpenReport } from "./report.ts";
import { fileMagic } from "../migration/stream/constants.ts";
import { examineStream } from "./stream.ts";
import { counted } from "./values.ts";
import type { Source } from "./source.ts";

/** First u32 of CPR state, `QCPR`. */
const CPR_MAGIC = 0x51435052;
/** First u32 of a multifd connection's recording. */
const MULTIFD_MAGIC = 0x11223344;

/** Where the stream or state begins, and what is wanted of it. */
export interface ExamineOptions {
  readonly offset: number;
}

/**
 * Examines the file at `path`. What is wrong inside it is part of the report; it throws only if the file
 * cannot be read or is nothing that could be reported on.
 */
export function examine(path: string, { offset }: ExamineOptions): OpenReport {
  using undo = new DisposableStack();
  const descriptor = undo.use(openFile(path, OpenFlags.readOnly | OpenFlags.nonBlocking));
  const source = sourceOf(descriptor.fd, path);
  const head = new DataView(new ArrayBuffer(4));
  const count = source.read(new Uint8Array(head.buffer), offset);
  const magic = count === 4 ? head.getUint32(0) : undefined;
  if (magic === MULTIFD_MAGIC) {
    throw new Error(
      `'${path}' holds what went through a multifd channel; the main channel's bytes are needed`,
    );
  }
  // What is cut off there is still shown as what it was.
  const cutOff = count > 0 && count < 4 && fileMagic >>> (32 - 8 * count) === head.getUint32(0) >>>
        (32 - 8 * count);
  if (magic !== CPR_MAGIC && magic !== fileMagic && !cutOff) {
    throw new Error(
      `'${path}' is neither a migration stream nor CPR state: ${describeHead(head, count, offset)}`,
    );
  }
  const report = magic === CPR_MAGIC
    ? examineCprState(source, offset)
    : examineStream(source, offset);
  undo.move();
  return {
    report,
    readFully: source.readFully,
    [Symbol.dispose]: () => descriptor[Symbol.dispose](),
  };
}

/** What other files begin with that people have by a stream's name. */
const otherFiles: readonly (readonly [magic: number, bits: number, what: string])[] = [
  [0x1f8b, 16, "compressed by gzip"],
  [0x28b52ffd, 32, "compressed by zstd"],
  [0xfd377a58, 32, "compressed by xz"],
  [0x514649fb, 32, "a disk image of the format qcow2"],
  [0x7f454c46, 32, "an ELF file"],
];

/** Why a file that begins with these bytes is not to be reported on. */
function describeHead(head: DataView, count: number, offset: number): string {
  const where = offset === 0 ? "it" : `what is at offset 0x${offset.toString(16)}`;
  if (count === 0) return `${where} is empty`;
  if (count < 4) return `${where} ends after ${counted(count, "byte")}`;
  const magic = head.getUint32(0);
  const known = otherFiles.find(([expected, bits]) => magic >>> (32 - bits) === expected);
  if (known !== undefined) return `${where} is ${known[2]}`;
  const hexadecimal = (value: number) => value.toString(16).padStart(8, "0");
  return `${where} begins with ${hexadecimal(magic)}, not with ${hexadecimal(fileMagic)}`;
}

function sourceOf(fd: Fd, name: string): Source {
  const { kind } = status(fd);
  if (kind !== "file" && kind !== "block") {
    const errno = kind === "directory" ? Errno.EISDIR : Errno.ESPIPE;
    throw new SystemError(`Could not read '${name}'`, errno);
  }
  const read = (buffer: Uint8Array<ArrayBuffer>, offset: number) => readAt(fd, buffer, offset);
  return {
    name,
    size: seek(fd, 0, Whence.end),
    read,
    readFully: (buffer, offset) => {
      for (let done = 0; done < buffer.length;) {
        const count = read(buffer.subarray(done), offset + done);
        if (count === 0) {
          throw new Error(`'${name}' ends at ${offset + done}, before what it should hold`);
        }
        done += count;
      }
    },
  };
}
