/**
 * The file that execvp(3) opens for a command, and what can be seen of it without starting it. A file is
 * known by device and inode: a path may lead to another one a moment later.
 */
import { type Descriptor } from "../native/descriptor.ts";
import { SystemError } from "../native/errors.ts";
import { openFile, OpenFlags, readAt, status } from "../native/file.ts";
import { getEnvironment } from "../native/process.ts";

/** O_PATH: needs no permission to read the file. */
const PATH_ONLY = 0o10000000;
/** What is read at once while a text is looked for. */
const CHUNK = 256 << 10;
/** How far from the end of a program a text is looked for. What a program carries is behind its code. */
const SEARCH_LIMIT = 32 << 20;
/** The first bytes of an executable that the kernel loads by itself (elf(5)). */
const ELF_MAGIC = "\x7fELF";

/** A file, whatever path leads to it. */
export interface FileIdentity {
  readonly device: bigint;
  readonly inode: bigint;
}

/** The file that a command's first word leads to. */
export interface ProgramFile {
  /** Absolute, or relative to the folder that was given. */
  readonly path: string;
  readonly identity: FileIdentity;
}

/** Whether both are the same file. */
export function isSameFile(
  one: FileIdentity | undefined,
  other: FileIdentity | undefined,
): boolean {
  return one !== undefined && other !== undefined && one.device === other.device &&
    one.inode === other.inode;
}

/** The file at `path`, symbolic links followed; `undefined` if no regular file can be found there. */
export function fileAt(path: string): FileIdentity & { readonly executable: boolean } | undefined {
  try {
    using file = openFile(path, PATH_ONLY);
    const { kind, device, inode, executable } = status(file.fd);
    return kind === "file" ? { device, inode, executable } : undefined;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return undefined;
  }
}

/** `path` as a program in the folder `folder` means it. */
export function pathIn(folder: string, path: string): string {
  return path.startsWith("/") ? path : `${folder}/${path}`;
}

/** The file that execvp opens for `program` in `folder`; `undefined` if there is none. */
export function programFile(program: string, folder: string): ProgramFile | undefined {
  const places = program.includes("/")
    ? [program]
    : (getEnvironment("PATH") ?? "").split(":").map((place) => `${place || "."}/${program}`);
  for (const place of places) {
    const path = pathIn(folder, place);
    const identity = fileAt(path);
    if (identity?.executable) return { path, identity };
  }
  return undefined;
}

/** A program's file, opened to be looked at. */
export class OpenProgram implements Disposable {
  readonly #file: Descriptor;
  readonly #size: number;

  private constructor(file: Descriptor) {
    this.#file = file;
    this.#size = status(file.fd).size;
  }

  /** `undefined` if it cannot be read. */
  static open(path: string): OpenProgram | undefined {
    try {
      return new OpenProgram(openFile(path, OpenFlags.readOnly | OpenFlags.nonBlocking));
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      return undefined;
    }
  }

  get identity(): FileIdentity {
    const { device, inode } = status(this.#file.fd);
    return { device, inode };
  }

  /** The kernel loads it by itself. Everything else is run by another program, such as a shell. */
  get isElf(): boolean {
    return this.#read(0, ELF_MAGIC.length) === ELF_MAGIC;
  }

  /** Whether `text`, which is ASCII, is in it, within 32 MiB of its end. Others get their turn meanwhile. */
  async carries(text: string): Promise<boolean> {
    const lowest = Math.max(0, this.#size - SEARCH_LIMIT);
    for (let end = this.#size; end > lowest;) {
      const begin = Math.max(lowest, end - CHUNK);
      // What began in this part may end in the next one.
      if (this.#read(begin, end - begin + text.length).includes(text)) return true;
      end = begin;
      await new Promise((resolve) => setTimeout(resolve));
    }
    return false;
  }

  /** As many bytes as there are, one character each. */
  #read(offset: number, length: number): string {
    const bytes = new Uint8Array(length);
    let count = 0;
    while (count < length) {
      const more = readAt(this.#file.fd, bytes.subarray(count), offset + count);
      if (more === 0) break;
      count += more;
    }
    return new TextDecoder("latin1").decode(bytes.subarray(0, count));
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}
