/** The threads that serve a virtio-blk device's requests (ffi/virtio_blk.c). */
import { layouts, limits } from "./layouts.ts";
import { native } from "./library.ts";
import { unwrap } from "./errors.ts";
import { monotonicTime } from "./timer_queue.ts";
import { NativeHandle } from "./handle.ts";
import type { Fd } from "./descriptor.ts";
import type { DeviceMemory } from "./device_memory.ts";
import {
  decodeElement,
  ELEMENT_SIZE,
  encodeQueues,
  type QueueElement,
  type ServedQueue,
} from "./virtqueue.ts";

/** What happens when a request fails; `enospc`: stop if there is no space left, else report. */
export const errorActions = ["report", "ignore", "enospc", "stop"] as const;
export type ErrorAction = (typeof errorActions)[number];

/** Classes of operations in statistics and errors. */
export const diskOperations = ["read", "write", "flush", "unmap"] as const;
export type DiskOperation = (typeof diskOperations)[number];

/** The bytes behind a disk. */
export interface DiskImage {
  /** Absent: there is no file, for measurements. */
  readonly fd: Fd | undefined;
  /** Opened with O_DIRECT, which wants memory and offsets that are multiples of `alignment`. */
  readonly direct: boolean;
  readonly alignment: number;
  readonly noFlush: boolean;
  /** Discarded blocks are given back. */
  readonly unmap: boolean;
  /** Without file: reads give zeros. */
  readonly zeroes: boolean;
  /** Raw was guessed: writes by which block 0 would look like another format fail with EPERM. */
  readonly probed: boolean;
  /** Where the disk starts in the file. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  /** Without file: ns that each request takes. */
  readonly latency: number;
}

/**
 * The format of the image that begins with `start` (512 bytes of it decide), by QEMU's name for its
 * driver; `undefined` if nothing speaks against raw.
 */
export function imageFormat(start: Uint8Array<ArrayBuffer>): string | undefined {
  const NAME_SIZE = 16;
  const name = new Uint8Array(NAME_SIZE);
  native.molt_image_format(
    start,
    BigInt(Math.min(start.length, limits.MOLT_IMAGE_PROBE_SIZE)),
    name,
  );
  return new TextDecoder().decode(name.subarray(0, name.indexOf(0))) || undefined;
}

/** A disk as its requests see it. */
export interface DiskSetup {
  readonly image: DiskImage;
  /** Bytes of a logical block. */
  readonly blockSize: number;
  readonly readOnly: boolean;
  readonly readError: ErrorAction;
  readonly writeError: ErrorAction;
  /** Sectors of 512 bytes. */
  readonly discardMaximum: number;
  readonly writeZeroesMaximum: number;
  /** Of which 20 bytes are shown. */
  readonly serial: string;
}

/** A request that failed. */
export interface DiskError {
  readonly operation: DiskOperation;
  readonly action: Exclude<ErrorAction, "enospc">;
  readonly errno: number;
}

/** Totals of one class of operations. */
export interface DiskTotals {
  readonly bytes: number;
  readonly operations: number;
  readonly failed: number;
  readonly invalid: number;
  /** ns. */
  readonly time: number;
}

const { molt_disk_setup: setupLayout, molt_disk_error: errorLayout } = layouts;
const { molt_disk_statistics: statisticsLayout } = layouts;

/** VIRTIO_BLK_ID_BYTES. */
const SERIAL_LENGTH = 20;

function encodeSetup(setup: DiskSetup): Uint8Array<ArrayBuffer> {
  const { image } = setup;
  const bytes = new Uint8Array(setupLayout.sizeof);
  const view = new DataView(bytes.buffer);
  const flags = [image.direct, image.noFlush, image.unmap, image.zeroes, image.probed];
  view.setInt32(setupLayout["image.fd"], image.fd ?? -1, true);
  view.setUint32(
    setupLayout["image.flags"],
    flags.reduce((bits, on, bit) => bits | (on ? 1 << bit : 0), 0),
    true,
  );
  view.setBigUint64(setupLayout["image.offset"], BigInt(image.offset), true);
  view.setBigUint64(setupLayout["image.size"], BigInt(image.size), true);
  view.setBigUint64(setupLayout["image.latency"], BigInt(image.latency), true);
  view.setUint32(setupLayout["image.alignment"], image.alignment, true);
  view.setUint32(setupLayout.sector, setup.blockSize, true);
  view.setUint32(setupLayout.read_only, setup.readOnly ? 1 : 0, true);
  view.setUint32(setupLayout.read_error, errorActions.indexOf(setup.readError), true);
  view.setUint32(setupLayout.write_error, errorActions.indexOf(setup.writeError), true);
  view.setUint32(setupLayout.discard_maximum, setup.discardMaximum, true);
  view.setUint32(setupLayout.write_zeroes_maximum, setup.writeZeroesMaximum, true);
  bytes.set(new TextEncoder().encode(setup.serial).subarray(0, SERIAL_LENGTH), setupLayout.serial);
  return bytes;
}

/**
 * ns that the isolate waits for requests under way, of all queues that are stopped in one go: most end
 * within this, and a machine that is being saved then costs its guest no way through the event loop.
 */
const STOP_TIME = 50_000_000n;

let deadline: bigint | undefined;

function stopDeadline(): bigint {
  if (deadline === undefined) {
    deadline = monotonicTime() + STOP_TIME;
    queueMicrotask(() => deadline = undefined);
  }
  return deadline;
}

/** A disk's queues at work. Their notifications arrive at `kicks`. */
export class NativeDisk implements Disposable {
  readonly #handle: NativeHandle;

  /** Faults and errors are reported by the eventfd `attention`. */
  constructor(
    memory: DeviceMemory,
    setup: DiskSetup,
    queues: readonly ServedQueue[],
    attention: Fd,
  ) {
    const { rings, kicks } = encodeQueues(queues);
    this.#handle = new NativeHandle(
      "a disk",
      unwrap(
        native.molt_disk_create(
          memory.handle,
          encodeSetup(setup),
          rings,
          kicks,
          queues.length,
          attention,
        ),
        "Could not create a disk",
      ),
      native.molt_disk_destroy,
    );
  }

  /** Serves queue `index`, whose rings were found, and the requests kept in it. */
  start(index: number): void {
    native.molt_disk_start(this.#handle.value, index);
  }

  /**
   * Queue `index` takes no request any more. False: some are still under way after a moment, and the
   * attention is signalled when they have ended, unless the queue is started before.
   */
  stop(index: number): boolean {
    return native.molt_disk_stop(this.#handle.value, index, stopDeadline()) === 0;
  }

  /** Whether requests of queue `index` are under way. */
  busy(index: number): boolean {
    return native.molt_disk_is_busy(this.#handle.value, index) !== 0;
  }

  /** Whether writes may stay in the host's cache until a flush. */
  set writeCache(on: boolean) {
    native.molt_disk_set_write_cache(this.#handle.value, on ? 1 : 0);
  }

  /** Takes over the image's new size. All queues must be stopped. */
  set size(size: number) {
    native.molt_disk_set_size(this.#handle.value, BigInt(size));
  }

  /** The errors since the last call. */
  takeErrors(): DiskError[] {
    const bytes = new Uint8Array(limits.MOLT_DISK_ERRORS_KEPT * errorLayout.sizeof);
    const view = new DataView(bytes.buffer);
    const count = native.molt_disk_errors(this.#handle.value, bytes);
    return Array.from({ length: count }, (_, i) => {
      const at = errorLayout.sizeof * i;
      const action = errorActions[view.getUint32(at + errorLayout.action, true)];
      return {
        operation: diskOperations[view.getUint32(at + errorLayout.operation, true)] ?? "read",
        action: action === undefined || action === "enospc" ? "report" : action,
        errno: view.getInt32(at + errorLayout.error, true),
      };
    });
  }

  /** What was done so far. */
  get statistics(): Readonly<Record<DiskOperation, DiskTotals>> {
    const values = new BigUint64Array(statisticsLayout.sizeof / 8);
    native.molt_disk_read_statistics(this.#handle.value, new Uint8Array(values.buffer));
    const totals = (operation: number): DiskTotals => {
      const value = (kind: keyof DiskTotals) =>
        Number(values[statisticsLayout[kind] / 8 + operation]);
      return {
        bytes: value("bytes"),
        operations: value("operations"),
        failed: value("failed"),
        invalid: value("invalid"),
        time: value("time"),
      };
    };
    return { read: totals(0), write: totals(1), flush: totals(2), unmap: totals(3) };
  }

  /** The requests kept in queue `index`, which is stopped, after errors. */
  keptRequests(index: number): QueueElement[] {
    const bytes = new Uint8Array(ELEMENT_SIZE);
    const requests: QueueElement[] = [];
    while (native.molt_disk_kept(this.#handle.value, index, requests.length, bytes) !== 0) {
      requests.push(decodeElement(new DataView(bytes.buffer)));
    }
    return requests;
  }

  /** Adds a request to those kept in queue `index`, which is stopped. */
  keepRequest(index: number, { head, out, in: written }: QueueElement): void {
    const buffers = BigUint64Array.from(
      [...out, ...written].flatMap(({ address, length }) => [BigInt(address), BigInt(length)]),
    );
    unwrap(
      native.molt_disk_keep(
        this.#handle.value,
        index,
        head,
        new Uint8Array(buffers.buffer),
        out.length,
        written.length,
      ),
      "Could not take over a failed disk request",
    );
  }

  /** Forgets the requests kept in queue `index`. */
  forgetRequests(index: number): void {
    native.molt_disk_forget(this.#handle.value, index);
  }

  [Symbol.dispose](): void {
    this.#handle[Symbol.dispose]();
  }
}
