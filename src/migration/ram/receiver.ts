/**
 * RAM as it comes: checks the block list against the machine's and puts pages into place.
 *
 *   block list    names and lengths are checked; from now on it is known what is zero already
 *   pages         load() takes them in bulk, apply() one by one
 *   flush         waits for the other channels (multifd)
 *   end           the section's last part has come
 *
 * Which pages came is not judged: what is zero or was handed over is not sent.
 */
import type { IncomingChannel } from "../../channel/channel.ts";
import { PAGE_SIZE, type RamBlock } from "../../memory/ram_block.ts";
import { PageBitmap } from "../../native/pages.ts";
import { type PageBuffer, RamTargets } from "../../native/ram_load.ts";
import { MigrationError } from "../errors.ts";
import type { RamBlockEntry, RamRecord } from "../stream/ram_records.ts";
import type { LoadedPages } from "../stream/stream_reader.ts";
import { applyXbzrle } from "../stream/xbzrle.ts";
import { dropUnwritten } from "./unwritten.ts";

/** How pages are received. */
export interface RamReceiverOptions {
  readonly blocks: readonly RamBlock[];
  /**
   * No pages will come, so that every block must be memory that the process before this one used;
   * `inherited` says which are.
   */
  readonly inPlace: boolean;
  readonly inherited: (block: RamBlock) => boolean;
  /** Waits until the pages on other channels are in place that were sent before a flush record. */
  readonly flush?: (targets: RamTargets) => Promise<void>;
  /** The end of each section's records counts as a flush record (multifd of QEMU before 8.1). */
  readonly flushAfterEachSection?: boolean;
}

/** A block, and the pages of it that may hold something else than zeros. */
interface ReceivedBlock {
  readonly block: RamBlock;
  readonly written: PageBitmap;
}

/** Applies `ram` records to the machine's blocks. */
export class RamReceiver implements Disposable {
  readonly #options: RamReceiverOptions;
  readonly #resources = new DisposableStack();
  #blocks: ReadonlyMap<string, ReceivedBlock> = new Map();
  #progress: "none" | "listed" | "ended" = "none";
  #targets: RamTargets | undefined;

  constructor(options: RamReceiverOptions) {
    this.#options = options;
  }

  /** The machine's memory for the C library, once the block list was checked. */
  get targets(): RamTargets | undefined {
    return this.#targets;
  }

  /** Takes records of pages from the beginning of `bytes`: StreamReaderOptions.loadPages. */
  load(bytes: Uint8Array<ArrayBuffer>, block: string | undefined): LoadedPages {
    return this.#targets?.load(bytes, block) ?? { consumed: 0, block };
  }

  /**
   * Takes records of pages from `channel`, off the isolate, until something else comes. False, having
   * done nothing, if it cannot: there is no block list yet.
   */
  async receive(channel: IncomingChannel, buffer: PageBuffer): Promise<boolean> {
    const targets = this.#targets;
    if (targets === undefined) return false;
    await channel.readInBulk((address) => targets.receive(address, buffer));
    return true;
  }

  /** Applies one record. `bytes` is the stream reader's buffer. */
  async apply(record: RamRecord, bytes: Uint8Array): Promise<void> {
    switch (record.kind) {
      case "blocks":
        await this.#checkBlocks(record.blocks);
        break;
      case "page":
        this.#page(record.block, record.offset)
          .set(bytes.subarray(record.data, record.data + PAGE_SIZE));
        break;
      case "zero page":
        this.#clearPage(record.block, record.offset);
        break;
      case "xbzrle page":
        applyXbzrle(
          this.#page(record.block, record.offset),
          bytes.subarray(record.data, record.data + record.size),
        );
        break;
      case "multifd flush":
        await this.#flush();
        break;
      case "end of records":
        if (this.#options.flushAfterEachSection) await this.#flush();
        break;
      case "hook":
        break;
    }
  }

  /** Notes that the section's last part has come. */
  ended(): void {
    this.#progress = "ended";
  }

  /**
   * Throws a MigrationError unless the whole section has come: the guest's memory would be missing.
   * `switchedOver`: the source stopped the guest and sent the rest. One that saves the running guest as it
   * was (background-snapshot) does not, and its section has no last part.
   */
  requireWhole(switchedOver: boolean): void {
    switch (this.#progress) {
      case "none":
        throw new MigrationError(
          "the stream has no section 'ram' 0: the guest's memory is missing",
        );
      case "listed":
        if (!switchedOver) return;
        throw new MigrationError(
          "the stream has no end of the section 'ram' 0: some of the guest's memory is missing",
        );
    }
  }

  [Symbol.dispose](): void {
    this.#resources[Symbol.dispose]();
    this.#targets = undefined;
  }

  async #checkBlocks(entries: readonly RamBlockEntry[]): Promise<void> {
    const { blocks, inPlace, inherited } = this.#options;
    if (this.#progress !== "none") throw new MigrationError("the list of RAM blocks comes twice");
    const missing = blocks.find(({ name }) => !entries.some((entry) => entry.name === name));
    if (missing !== undefined) {
      throw new MigrationError(
        `the list of RAM blocks lacks '${missing.name}', which this machine has: ` +
          "configure both sides alike",
      );
    }
    const received = entries.map(({ name, length }) => {
      const block = blocks.find((candidate) => candidate.name === name);
      if (!block) {
        throw new MigrationError(`Unknown ramblock "${name}", cannot accept migration`);
      }
      block.resize(length);
      if (inPlace && !inherited(block)) {
        throw new MigrationError(
          `The RAM block '${name}' was not handed over, and no pages of it come: the guest's ` +
            "memory would be lost",
        );
      }
      return block;
    });
    if (!inPlace) await this.#prepare(received);
    this.#progress = "listed";
  }

  /** Finds out what is zero already, so that pages that stay so need not be touched. */
  async #prepare(blocks: readonly RamBlock[]): Promise<void> {
    const received: ReceivedBlock[] = [];
    for (const block of blocks) {
      const pages = block.usedLength / PAGE_SIZE;
      const written = this.#resources.use(new PageBitmap(pages));
      written.fill(true);
      await dropUnwritten(block, written, 0, pages);
      received.push({ block, written });
    }
    this.#blocks = new Map(received.map((entry) => [entry.block.name, entry]));
    this.#targets = this.#resources.use(
      new RamTargets(received.map(({ block, written }) => ({
        name: block.name,
        memory: block.mapping,
        length: block.usedLength,
        written,
      }))),
    );
  }

  async #flush(): Promise<void> {
    const { flush } = this.#options;
    if (flush === undefined || this.#targets === undefined) return;
    await flush(this.#targets);
  }

  #find({ name }: RamBlockEntry): ReceivedBlock {
    const found = this.#blocks.get(name);
    if (!found) throw new MigrationError(`Can't find block ${name}`);
    return found;
  }

  #page(entry: RamBlockEntry, offset: number): Uint8Array {
    const { block, written } = this.#find(entry);
    const page = offset / PAGE_SIZE;
    written.setAtomically(page, page + 1);
    return block.mapping.bytes.subarray(offset, offset + PAGE_SIZE);
  }

  #clearPage(entry: RamBlockEntry, offset: number): void {
    const { block, written } = this.#find(entry);
    // Touching a page that was never written would allocate it.
    if (!written.has(offset / PAGE_SIZE)) return;
    block.mapping.bytes.fill(0, offset, offset + PAGE_SIZE);
  }
}
