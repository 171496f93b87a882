/**
 * Pages on several connections at once. The main stream has everything else, and says where pages must
 * have arrived:
 *
 *   connections   greeting   pages ...    SYNC    pages ...    SYNC    (closed)
 *   main          ...        block list   FLUSH   sections     FLUSH   devices
 *
 * The k-th SYNC of every connection and the k-th FLUSH belong together. A page is sent at most once
 * between two of them.
 */
import type { OutgoingChannel } from "../../channel/channel.ts";
import type { RamBlock } from "../../memory/ram_block.ts";
import { type Compression, MultifdEnd, PacketCounter } from "../../native/multifd.ts";
import { PageBitmap } from "../../native/pages.ts";
import type { DirtyRange } from "../ram/dirty_pages.ts";
import type { MainStreamTransport } from "../ram/main_stream.ts";
import type { PageTransport, SentPages } from "../ram/transport.ts";
import type { StreamWriter } from "../stream/stream_writer.ts";
import { GREETING_SIZE, writeGreeting } from "./greeting.ts";

/** How pages travel. */
export interface MultifdOptions {
  readonly writer: StreamWriter;
  /** Connects to the destination once more. */
  readonly connect: () => OutgoingChannel | Promise<OutgoingChannel>;
  /** How many connections. */
  readonly channels: number;
  readonly uuid: Uint8Array | undefined;
  readonly compression: Compression;
  /**
   * Zero pages: looked for and listed in packets, or found here and listed in the main stream (QEMU
   * before 9.0), or not looked for.
   */
  readonly zeroPages:
    | { readonly kind: "in packets" }
    | { readonly kind: "in main stream"; readonly main: MainStreamTransport }
    | { readonly kind: "not detected" };
  /** No FLUSH: the end of each section counts as one (QEMU before 8.1). */
  readonly flushAfterEachSection: boolean;
  /** Aborted when somebody cancels the migration. */
  readonly signal: AbortSignal;
}

/** A connection. */
interface Connection {
  readonly channel: OutgoingChannel;
  readonly end: MultifdEnd;
}

/** Sends ranges on whichever connection is idle. */
export class MultifdTransport implements PageTransport {
  readonly parallel: number;
  readonly #options: MultifdOptions;
  readonly #resources = new DisposableStack();
  readonly #counter: PacketCounter;
  readonly #connections: Connection[] = [];
  readonly #idle: Connection[] = [];
  readonly #working = new Set<Promise<unknown>>();
  /** For pages that are listed in the main stream: which are zero, and which are not. */
  readonly #scratch = new Map<RamBlock, { readonly zero: PageBitmap; readonly rest: PageBitmap }>();
  /** The main stream takes one range at a time. */
  #mainStream: Promise<unknown> = Promise.resolve();
  /** Bytes of greetings and synchronisations that no range has been charged with. */
  #overhead = 0;

  constructor(options: MultifdOptions) {
    this.#options = options;
    this.parallel = options.channels;
    this.#counter = this.#resources.use(new PacketCounter());
  }

  async open(): Promise<void> {
    const { connect, channels, uuid, compression, signal } = this.#options;
    for (let id = 0; id < channels; id++) {
      const level = compression.kind === "none" ? undefined : compression.level;
      const end = this.#resources.use(new MultifdEnd(compression.kind, level));
      const channel = this.#resources.use(await connect());
      const cancel = () => channel.cancel();
      signal.addEventListener("abort", cancel);
      this.#resources.defer(() => signal.removeEventListener("abort", cancel));
      if (signal.aborted) cancel();
      await channel.write(writeGreeting(id, uuid));
      this.#overhead += GREETING_SIZE;
      this.#connections.push({ channel, end });
    }
    this.#idle.push(...this.#connections);
  }

  async send(range: DirtyRange): Promise<SentPages> {
    const { zeroPages } = this.#options;
    if (zeroPages.kind === "in main stream") return await this.#sendApart(range, zeroPages.main);
    return await this.#sendPackets(range, range.dirty, zeroPages.kind === "in packets");
  }

  async synchronise(): Promise<void> {
    const { writer, flushAfterEachSection } = this.#options;
    const sent = await Promise.all(
      this.#connections.map(({ channel, end }) =>
        this.#use(channel, (address) => end.sendSync(address, this.#counter))
      ),
    );
    this.#overhead += sent.reduce((sum, bytes) => sum + bytes, 0);
    if (!flushAfterEachSection) writer.ram.multifdFlush();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { zeroPages } = this.#options;
    if (this.#working.size > 0) {
      for (const { channel } of this.#connections) channel.cancel();
    }
    await Promise.allSettled(this.#working);
    if (zeroPages.kind === "in main stream") await zeroPages.main[Symbol.asyncDispose]();
    this.#resources[Symbol.dispose]();
  }

  async #sendPackets(
    range: DirtyRange,
    bitmap: PageBitmap,
    detectZero: boolean,
  ): Promise<SentPages> {
    const { block, first, end, written } = range;
    const connection = this.#idle.pop();
    if (connection === undefined) throw new Error("more ranges than connections");
    try {
      const bytes = await this.#use(connection.channel, (address) =>
        connection.end.send(
          address,
          { memory: block.mapping, bitmap, first, end, written, detectZero },
          block.name,
          this.#counter,
        ));
      const apart = bytes + this.#overhead;
      this.#overhead = 0;
      return { bytes: apart, apart, ...connection.end.counts };
    } finally {
      this.#idle.push(connection);
    }
  }

  /** Zero pages in the main stream, the others on a connection. */
  async #sendApart(range: DirtyRange, main: MainStreamTransport): Promise<SentPages> {
    const { block, dirty, written, first, end } = range;
    const { zero, rest } = this.#scratchFor(block);
    const firstWord = first / 64;
    const endWord = Math.ceil(end / 64);
    for (let word = firstWord; word < endWord; word++) {
      rest.words[word] = dirty.words[word]! & (written?.words[word] ?? ~0n);
    }
    await rest.dropZeroPages(block.mapping, first, end);
    for (let word = firstWord; word < endWord; word++) {
      zero.words[word] = dirty.words[word]! & ~rest.words[word]!;
    }
    const zeros = zero.count(first, end);
    const reporting = this.#mainStream.then(() =>
      main.send({ ...range, dirty: zero, count: zeros, written: rest })
    );
    this.#mainStream = reporting.catch(() => {});
    const reported = await reporting;
    const sent = await this.#sendPackets({ ...range, written: undefined }, rest, false);
    return {
      bytes: reported.bytes + sent.bytes,
      apart: sent.bytes,
      normal: reported.normal + sent.normal,
      zero: reported.zero + sent.zero,
    };
  }

  #scratchFor(block: RamBlock): { readonly zero: PageBitmap; readonly rest: PageBitmap } {
    const existing = this.#scratch.get(block);
    if (existing !== undefined) return existing;
    const bitmap = () => this.#resources.use(new PageBitmap(block.maximumLength / 4096));
    const created = { zero: bitmap(), rest: bitmap() };
    this.#scratch.set(block, created);
    return created;
  }

  async #use(
    channel: OutgoingChannel,
    operation: (address: bigint) => Promise<bigint>,
  ): Promise<number> {
    const working = channel.writeInBulk(operation);
    this.#working.add(working);
    try {
      return await working;
    } finally {
      this.#working.delete(working);
    }
  }
}
