/** One end of a multifd connection: packets of pages, written and read by the C library (ffi/multifd.c). */
import { native } from "./library.ts";
import { Errno, unwrap } from "./errors.ts";
import { holdAll, NativeHandle } from "./handle.ts";
import { Mapping } from "./mapping.ts";
import type { RamTargets } from "./ram_load.ts";
import { memoryOf, type PageCounts, type PageSelection, readPageCounts } from "./ram_stream.ts";
import { threads } from "./thread_pool.ts";

/** How pages are packed. Each connection is one continuous stream. */
export type Compression =
  | { readonly kind: "none" }
  | { readonly kind: "zlib" | "zstd"; readonly level: number };

const codes = { none: 0, zlib: 1, zstd: 2 } as const;
const libraries = { none: "", zlib: "libz.so.1", zstd: "libzstd.so.1" } as const;

/** What was received breaks the protocol. The message is QEMU's where it has one. */
export class MultifdError extends Error {
  override readonly name = "MultifdError";
}

/** A number that all connections of one migration count together. */
export class PacketCounter implements Disposable {
  readonly #memory = new Mapping({ kind: "anonymous" }, 4096, "a counter");

  get address(): bigint {
    return this.#memory.address;
  }

  /** Keeps it from being freed while a call uses it. */
  hold(): Disposable {
    return this.#memory.hold();
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }
}

/** Bytes of a block's name in a packet. */
const NAME_SIZE = 256;
const COUNTS = NAME_SIZE;

/** One end. Calls must not overlap; what one uses stays until it has ended. */
export class MultifdEnd implements Disposable {
  readonly #handle: NativeHandle;
  readonly #arguments: Mapping;

  /** An end that compresses with `level`, or one that decompresses. Throws if the host cannot. */
  constructor(kind: Compression["kind"], level?: number) {
    const handle = native.molt_multifd_create(codes[kind], level ?? -1);
    if (Number(handle) === -Errno.ELIBACC) {
      throw new MultifdError(
        `multifd-compression ${kind} needs the library ${libraries[kind]} on this host`,
      );
    }
    using undo = new DisposableStack();
    this.#handle = undo.use(
      new NativeHandle(
        "a multifd connection",
        unwrap(handle, "Could not prepare a multifd connection"),
        native.molt_multifd_destroy,
      ),
    );
    this.#arguments = new Mapping({ kind: "anonymous" }, 4096, "arguments");
    undo.move();
  }

  /**
   * Sends pages of the block `name` on the channel whose struct molt_channel is at `channel`. Resolves
   * with the bytes sent or a negative errno.
   */
  async send(
    channel: bigint,
    pages: PageSelection,
    name: string,
    counter: PacketCounter,
  ): Promise<bigint> {
    const { address, bytes } = this.#arguments;
    const encoded = new TextEncoder().encode(name);
    if (encoded.length >= NAME_SIZE) throw new RangeError(`block name '${name}' is too long`);
    bytes.fill(0, 0, NAME_SIZE);
    bytes.set(encoded);
    using _ = holdAll(this.#handle, this.#arguments, counter, ...memoryOf(pages));
    return await threads.molt_multifd_send(
      this.#handle.value,
      channel,
      pages.memory.address,
      pages.bitmap.address,
      pages.written?.address ?? 0n,
      BigInt(pages.first),
      BigInt(pages.end),
      pages.detectZero ? 1 : 0,
      address,
      counter.address,
      address + BigInt(COUNTS),
    );
  }

  /** What the last send counted. */
  get counts(): PageCounts {
    return readPageCounts(this.#arguments.bytes, COUNTS);
  }

  /** Ends what belongs before a synchronisation. Resolves as {@linkcode send}. */
  async sendSync(channel: bigint, counter: PacketCounter): Promise<bigint> {
    using _ = holdAll(this.#handle, counter);
    return await threads.molt_multifd_send_sync(this.#handle.value, channel, counter.address);
  }

  /**
   * Puts pages into place until the next synchronisation (1) or the end of the stream (0); a negative
   * errno otherwise. Throws MultifdError for packets that it refuses.
   */
  async receive(channel: bigint, targets: RamTargets): Promise<number> {
    using _ = holdAll(this.#handle, targets);
    const outcome = await threads.molt_multifd_receive(
      this.#handle.value,
      channel,
      targets.address,
      targets.count,
    );
    if (outcome === -Errno.EBADMSG) throw new MultifdError(this.#error());
    return outcome;
  }

  #error(): string {
    const pointer = Deno.UnsafePointer.create(native.molt_multifd_error(this.#handle.value));
    return pointer === null ? "" : Deno.UnsafePointerView.getCString(pointer);
  }

  [Symbol.dispose](): void {
    this.#handle[Symbol.dispose]();
    this.#arguments[Symbol.dispose]();
  }
}
