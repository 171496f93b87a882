/** Block nodes and drives: -blockdev and -drive. */
import type { OnOffAuto } from "./machine.ts";

/** What every block node says of itself. */
export interface BlockNodeOptions {
  readonly nodeName?: string;
  readonly readOnly: boolean;
  /** Opened read-only if writing is not possible. */
  readonly autoReadOnly: boolean;
  /** O_DIRECT. */
  readonly direct: boolean;
  /** Flushes are not passed on. */
  readonly noFlush: boolean;
  readonly discard: "ignore" | "unmap";
  readonly detectZeroes: "off" | "on" | "unmap";
  /** Other processes may write to the image. */
  readonly forceShare: boolean;
}

/** A block node: where bytes are, or what is made of those of another node. */
export type BlockNode =
  | BlockNodeOptions & {
    /** `file` from a -drive may be a block device too. */
    readonly driver: "file" | "host_device";
    readonly filename: string;
    readonly locking: OnOffAuto;
    readonly aio: "threads" | "native" | "io_uring";
  }
  | BlockNodeOptions & {
    readonly driver: "null-co";
    /** Bytes. */
    readonly size: number;
    readonly readZeroes: boolean;
    /** Each request's time. */
    readonly latencyNs: number;
  }
  | BlockNodeOptions & {
    /** The format that gives a part of a file to the guest as it is. */
    readonly driver: "raw";
    /** The node below: by name, or defined in place. */
    readonly file: string | BlockNode;
    /** Bytes. */
    readonly offset: number;
    /** Bytes. Absent: to the end. */
    readonly size?: number;
    /** No format was given and raw is a guess: an image that looks like another format is refused. */
    readonly probed: boolean;
  };

/** -blockdev: a node with a name, after all nodes that it names. */
export type BlockNodeConfig = BlockNode & { readonly nodeName: string };

/** What happens when a request fails; `enospc`: stop if the disk is full, else report. */
export type BlockErrorAction = "report" | "ignore" | "enospc" | "stop";

/** One -drive: an image and how errors in it are treated. A device takes it by `drive=ID`. */
export interface DriveConfig {
  readonly id: string;
  /** Absent: a drive without medium. */
  readonly node?: BlockNode;
  readonly media: "disk" | "cdrom";
  /** Its place among the drives; the lowest one is booted from. */
  readonly index: number;
  /** Writes are complete once they are in the host's cache. */
  readonly writeback: boolean;
  readonly writeError: BlockErrorAction;
  readonly readError: BlockErrorAction;
}
