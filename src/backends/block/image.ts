/**
 * A disk's bytes: the file or block device at the bottom of a block node, and which part of it.
 *
 *   open -> activate: locked, may be used -> inactivate: somebody else may use it -> activate ...
 *
 * A process that waits for a migration keeps its images inactive: they are the source's until then.
 */
import { ioctl } from "../../native/control.ts";
import { Descriptor, type Fd } from "../../native/descriptor.ts";
import type { DiskImage } from "../../native/disk.ts";
import { Errno, SystemError } from "../../native/errors.ts";
import {
  type FileStatus,
  OpenFlags,
  type OpenPath,
  readAt,
  status,
  statusFlags,
} from "../../native/file.ts";
import { Mapping } from "../../native/mapping.ts";
import type { BlockNode } from "../../configuration/block.ts";
import { dropImageLocks, takeImageLocks } from "./locks.ts";
import { ImageError } from "./errors.ts";
import { refuseOtherFormats } from "./probe.ts";

const SECTOR = 512;
/** Alignments that O_DIRECT may want, and a page for trying them. */
const directAlignments = [512, 1024, 2048, 4096] as const;
const PAGE = 4096;

/** BLKGETSIZE64 of linux/fs.h: a block device's size in bytes. */
const BLKGETSIZE64 = 0x80081272n;

/** What opening an image needs from outside. */
export interface ImageEnvironment {
  /** A descriptor that the process before this one handed over. */
  readonly adopt: (name: string) => Descriptor | undefined;
  /** Opens the path that a node names. */
  readonly openPath: OpenPath;
  /** Takes messages for the user. */
  readonly warn: (message: string) => void;
}

/** The chain of nodes from a disk to its file, as one. */
interface FlatNode {
  readonly bottom: Exclude<BlockNode, { driver: "raw" }>;
  readonly offset: number;
  readonly size: number | undefined;
  readonly readOnly: boolean;
  readonly unmap: boolean;
  /** Raw is a guess. */
  readonly probed: boolean;
}

/** An opened image. */
export class BlockImage implements Disposable {
  /** The disk's name: a drive's id or a node's name. */
  readonly id: string;
  readonly node: BlockNode;
  readonly path: string;
  readonly readOnly: boolean;
  readonly direct: boolean;
  readonly noFlush: boolean;
  /** Discarded blocks are given back. */
  readonly unmap: boolean;
  /** Memory and offsets must be multiples of it if `direct`. */
  readonly alignment: number;
  readonly #flat: FlatNode;
  readonly #descriptor: Descriptor | undefined;
  #size: number;
  #active = false;
  #shareWrite = false;

  /**
   * Opens the image behind `node`. `find` knows nodes by name. `name` is what a live update calls its
   * descriptor.
   */
  constructor(
    id: string,
    node: BlockNode,
    find: (nodeName: string) => BlockNode | undefined,
    environment: ImageEnvironment,
  ) {
    this.id = id;
    this.node = node;
    const flat = flatten(node, find);
    this.#flat = flat;
    const { bottom } = flat;
    this.path = bottom.driver === "null-co" ? "null-co://" : bottom.filename;
    this.direct = bottom.driver !== "null-co" && bottom.direct;
    this.noFlush = bottom.noFlush;
    this.unmap = flat.unmap;
    if (bottom.driver === "null-co") {
      this.readOnly = flat.readOnly;
      this.alignment = 1;
      this.#size = partSize(flat, bottom.size, this.path);
      return;
    }
    using undo = new DisposableStack();
    const adopted = environment.adopt(this.keptName);
    const opened = adopted === undefined
      ? openImage(bottom, flat.readOnly, environment.openPath)
      : takeImage(adopted, flat.readOnly);
    this.#descriptor = undo.use(opened.descriptor);
    this.readOnly = opened.readOnly;
    // A process before this one has shown the guest a raw disk: it stays one.
    if (flat.probed && adopted === undefined) {
      refuseOtherFormats(this.#descriptor.fd, this.path);
      if (!this.readOnly) environment.warn(guessedRaw(this.path));
    }
    this.alignment = this.direct ? directAlignment(this.#descriptor.fd, this.path) : 1;
    this.#size = partSize(flat, fileSize(this.#descriptor.fd, this.path), this.path);
    undo.move();
  }

  /** What a live update calls the descriptor. */
  get keptName(): string {
    return `molt/block/${this.id}`;
  }

  get fd(): Fd | undefined {
    return this.#descriptor?.fd;
  }

  /** Bytes of the disk. */
  get size(): number {
    return this.#size;
  }

  get active(): boolean {
    return this.#active;
  }

  /** Bytes that the file takes on its disk. */
  get allocated(): number {
    return this.#descriptor ? status(this.#descriptor.fd).allocated : 0;
  }

  /** Whether others may write the image while it is in use here. To be set before it is activated. */
  set shareWrite(share: boolean) {
    this.#shareWrite = share;
  }

  /** Locks the image for use here. Throws an ImageLockError if somebody else uses it. */
  activate(): void {
    if (this.#active) return;
    const { bottom } = this.#flat;
    if (this.#descriptor && bottom.driver !== "null-co" && bottom.locking !== "off") {
      const shareWrite = this.#shareWrite || bottom.forceShare;
      takeImageLocks(this.#descriptor.fd, this.path, { write: !this.readOnly, shareWrite });
    }
    this.#active = true;
  }

  /** Leaves the image to others. Nothing here uses it any more. */
  inactivate(): void {
    if (!this.#active) return;
    this.#active = false;
    if (this.#descriptor) dropImageLocks(this.#descriptor.fd);
  }

  /** What the threads that serve a disk need. */
  diskImage(): DiskImage {
    const { bottom, offset } = this.#flat;
    const empty = bottom.driver === "null-co";
    return {
      fd: this.fd,
      direct: this.direct,
      alignment: this.alignment,
      noFlush: this.noFlush,
      unmap: this.unmap,
      zeroes: empty && bottom.readZeroes,
      probed: this.#flat.probed,
      offset,
      size: this.#size,
      latency: empty ? bottom.latencyNs : 0,
    };
  }

  [Symbol.dispose](): void {
    this.#descriptor?.[Symbol.dispose]();
  }
}

function flatten(
  node: BlockNode,
  find: (nodeName: string) => BlockNode | undefined,
): FlatNode {
  if (node.driver !== "raw") {
    const { readOnly, discard } = node;
    return {
      bottom: node,
      offset: 0,
      size: undefined,
      readOnly,
      unmap: discard === "unmap",
      probed: false,
    };
  }
  const below = typeof node.file === "string" ? find(node.file) : node.file;
  if (below === undefined) {
    throw new ImageError(`Cannot find device='' nor node-name='${node.file}'`);
  }
  const flat = flatten(below, find);
  return {
    bottom: flat.bottom,
    offset: flat.offset + node.offset,
    size: node.size ?? (flat.size === undefined ? undefined : flat.size - node.offset),
    readOnly: flat.readOnly || node.readOnly,
    unmap: flat.unmap && node.discard === "unmap",
    probed: flat.probed || node.probed,
  };
}

/** What QEMU warns of too. */
function guessedRaw(path: string): string {
  return `WARNING: Image format was not specified for '${path}' and probing guessed raw.\n` +
    "         Automatically detecting the format is dangerous for raw images, write operations on " +
    "block 0 will be restricted.\n" +
    "         Specify the 'raw' format explicitly to remove the restrictions.";
}

/** The disk's size: the part that the nodes name, in whole sectors. */
function partSize({ offset, size }: FlatNode, whole: number, path: string): number {
  if (offset > whole) {
    throw new ImageError(`The offset ${offset} lies behind the end of '${path}' (${whole} bytes)`);
  }
  if (size !== undefined && offset + size > whole) {
    throw new ImageError(
      `The sum of offset (${offset}) and size (${size}) has to be smaller or equal to the ` +
        `actual size of the containing file (${whole})`,
    );
  }
  return Math.ceil((size ?? whole - offset) / SECTOR) * SECTOR;
}

/** An image's descriptor, and whether the disk cannot be written. */
interface OpenImage {
  readonly descriptor: Descriptor;
  readonly readOnly: boolean;
}

function takeImage(adopted: Descriptor, readOnly: boolean): OpenImage {
  const ACCESS_MODE = 3;
  const writable = (statusFlags(adopted.fd) & ACCESS_MODE) !== OpenFlags.readOnly;
  return { descriptor: adopted, readOnly: readOnly || !writable };
}

/** Opens the file at the bottom of a disk's nodes, of which one may be read-only. */
export function openImage(
  { filename, direct, autoReadOnly }: Exclude<BlockNode, { driver: "raw" | "null-co" }>,
  readOnly: boolean,
  open: OpenPath,
): OpenImage {
  const attempt = (mode: number) => open(filename, mode | (direct ? OpenFlags.direct : 0));
  if (readOnly) return { descriptor: attempt(OpenFlags.readOnly), readOnly };
  try {
    return { descriptor: attempt(OpenFlags.readWrite), readOnly };
  } catch (error) {
    const denied = error instanceof SystemError &&
      ([Errno.EACCES, Errno.EPERM, Errno.EROFS] as number[]).includes(error.errno);
    if (!autoReadOnly || !denied) throw error;
    return { descriptor: attempt(OpenFlags.readOnly), readOnly: true };
  }
}

function fileSize(fd: Fd, path: string): number {
  const { kind, size }: FileStatus = status(fd);
  if (kind === "file") return size;
  if (kind !== "block") {
    throw new ImageError(`'${path}' is neither a regular file nor a block device`);
  }
  const bytes = new Uint8Array(8);
  ioctl(fd, BLKGETSIZE64, bytes, `Could not get the size of '${path}'`);
  return Number(new DataView(bytes.buffer).getBigUint64(0, true));
}

/** The alignment that direct access to the file wants, found by trying. */
function directAlignment(fd: Fd, path: string): number {
  using memory = new Mapping({ kind: "anonymous" }, 2 * PAGE, "a page for direct access");
  for (const alignment of directAlignments) {
    try {
      readAt(fd, memory.bytes.subarray(alignment, 2 * alignment), 0);
      return alignment;
    } catch (error) {
      if (!(error instanceof SystemError && error.errno === Errno.EINVAL)) throw error;
    }
  }
  throw new ImageError(`Could not find working O_DIRECT alignment of '${path}'`);
}
