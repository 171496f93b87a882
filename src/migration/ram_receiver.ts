/**
 * How RAM comes: what is done with each item of the stream's `ram` section, in the order in which they
 * come. The reader and the channel are passive; nobody calls back.
 *
 *   blocks      the list is checked against the machine's blocks (ram/block_list.ts). After that
 *     in place     nothing: the memory was handed over (cpr-exec, cpr-transfer)
 *     mapped-ram   all pages are loaded from the file (mapped_ram/receiver.ts)
 *     otherwise    records of pages follow, and it is found out what is zero already
 *   pages       the reader lends its bytes, the C library takes pages from there and from the channel to
 *               guest memory (ram/received_pages.ts), and the reader goes on behind them
 *   flush       pages on other channels are waited for (multifd/receiver.ts)
 *   ram ends    the section's last part has come
 *
 * Which pages came is not judged: what is zero or was handed over is not sent.
 */
import { SEEKABLE_TRANSPORT } from "../channel/address.ts";
import type { IncomingChannel } from "../channel/channel.ts";
import { IncomingFile } from "../channel/file.ts";
import type { RamBlock } from "../memory/ram_block.ts";
import { messageOf, MigrationError } from "./errors.ts";
import { loadMappedRam, type MappedRamSource } from "./mapped_ram/receiver.ts";
import type { MultifdReceiver } from "./multifd/receiver.ts";
import { type ListedBlock, matchBlocks } from "./ram/block_list.ts";
import { ReceivedPages } from "./ram/received_pages.ts";
import { guestAddressOf, type MigratableMachine } from "./source.ts";
import type { RamBlockEntry, RamRecord } from "./stream/ram_records.ts";
import type { StreamItem, StreamReader } from "./stream/stream_reader.ts";

/** An item of the `ram` section. */
export type RamItem = Extract<StreamItem, { kind: "ram begins" | "pages" | "ram" | "ram ends" }>;

/** How RAM is received. */
export interface RamReceiverOptions {
  readonly target: Pick<MigratableMachine, "blocks" | "memory">;
  readonly channel: IncomingChannel;
  /** Where the items come from. Pages come in bulk unless they are handed over. */
  readonly reader: StreamReader;
  /** Names of the blocks that were handed over, for a live update: no pages come. */
  readonly handedOver?: ReadonlySet<string> | undefined;
  /** Channels with pages besides the stream. */
  readonly multifd?: MultifdReceiver | undefined;
  /** The end of each section's records counts as a flush record (multifd of QEMU before 8.1). */
  readonly flushAfterEachSection?: boolean;
  /** How a mapped-ram file is read: by how many threads, and whether it bypasses the page cache. */
  readonly fileAccess?: () => { readonly channels: number; readonly directIo: boolean };
}

/** Takes the items of the `ram` section. */
export class RamReceiver implements Disposable {
  readonly #options: RamReceiverOptions;
  #progress: "none" | "listed" | "ended" = "none";
  #pages: ReceivedPages | undefined;
  /** With x-ignore-shared: new files as memory. If no pages come for one, it should have had them. */
  #newFiles: readonly ListedBlock[] = [];

  constructor(options: RamReceiverOptions) {
    this.#options = options;
  }

  /** Takes an item, to its end. Throws what does not fit the machine. */
  async take(item: RamItem): Promise<void> {
    switch (item.kind) {
      case "ram begins":
        break;
      case "pages":
        await this.#receivePages();
        break;
      case "ram":
        await this.#takeRecord(item.record, item.offset);
        break;
      case "ram ends":
        if (item.part === "end") this.#progress = "ended";
        break;
    }
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
      case "ended":
        this.#requireFiles();
    }
  }

  /**
   * With x-ignore-shared the pages of a shared file are not sent: they are in the file, unless another file
   * was named, or it has been removed since.
   */
  #requireFiles(): void {
    for (const { block, entry } of this.#newFiles) {
      const { backing, name } = block;
      const missing = this.#pages?.isZero(block) ?? entry.mapped === undefined;
      if (backing.kind !== "path" || !missing) continue;
      throw new MigrationError(
        `the stream has no pages of the RAM block '${name}' (x-ignore-shared): they were to be in its file, ` +
          `and '${backing.path}' was new or empty when this process opened it`,
      );
    }
  }

  [Symbol.dispose](): void {
    this.#pages?.[Symbol.dispose]();
    this.#pages = undefined;
  }

  async #takeRecord(record: RamRecord, offset: number): Promise<void> {
    switch (record.kind) {
      case "blocks":
        await this.#takeBlocks(record.blocks, offset);
        break;
      case "multifd flush":
        await this.#flush();
        break;
      case "end of records":
        if (this.#options.flushAfterEachSection) await this.#flush();
        break;
      case "hook":
        break;
      case "page":
      case "zero page":
      case "xbzrle page":
        // No pages were to come: the memory was handed over.
        throw new MigrationError(`Can't find block ${record.block.name}`);
    }
  }

  async #takeBlocks(entries: readonly RamBlockEntry[], offset: number): Promise<void> {
    const { target, handedOver } = this.#options;
    let listed: readonly ListedBlock[];
    try {
      if (this.#progress !== "none") throw new MigrationError("the list of RAM blocks comes twice");
      listed = matchBlocks(
        entries,
        target.blocks,
        handedOver && ((block) => handedOver.has(block.name) || isInNamedFile(block)),
      );
    } catch (cause) {
      const where = `section 'ram/0', list of blocks: at offset 0x${offset.toString(16)}`;
      throw new MigrationError(`${where}: ${messageOf(cause)}`, { cause });
    }
    this.#progress = "listed";
    this.#checkAddresses(listed);
    this.#newFiles = listed.filter(({ block: { backing }, entry: { guestAddress } }) =>
      guestAddress !== undefined && backing.kind === "path" && backing.created
    );
    const sources = listed.flatMap(({ block, entry: { length, mapped: place } }) =>
      place === undefined ? [] : [{ block, length, place }]
    );
    if (sources.length > 0) await this.#loadFile(sources);
    else if (handedOver === undefined) {
      this.#pages = await ReceivedPages.prepare(listed.map(({ block }) => block));
    }
  }

  /** With x-ignore-shared both sides must have the blocks that are not sent at the same place. */
  #checkAddresses(listed: readonly ListedBlock[]): void {
    for (const { block, entry: { guestAddress } } of listed) {
      const address = guestAddressOf(block, this.#options.target);
      if (guestAddress !== undefined && block.backing.kind === "path" && guestAddress !== address) {
        throw new MigrationError(
          `Mismatched GPAs for block ${block.name} ${guestAddress}!= ${address}`,
        );
      }
    }
  }

  async #loadFile(sources: readonly MappedRamSource[]): Promise<void> {
    const { channel, fileAccess } = this.#options;
    if (!(channel instanceof IncomingFile)) {
      throw new MigrationError(SEEKABLE_TRANSPORT);
    }
    const { channels, directIo } = fileAccess?.() ?? { channels: 1, directIo: false };
    await loadMappedRam({ file: channel, sources, channels, directIo });
  }

  async #receivePages(): Promise<void> {
    const { reader, channel } = this.#options;
    const buffer = reader.lendPages();
    if (channel.seekable) channel.seek(reader.wantedOffset);
    await this.#pages?.receive(channel, buffer);
    reader.returnPages(buffer);
  }

  async #flush(): Promise<void> {
    const { multifd } = this.#options;
    if (multifd === undefined || this.#pages === undefined) return;
    await multifd.flush(this.#pages.targets);
  }
}

/** Its memory is in a file that was there, with something in it, before this process opened it. */
function isInNamedFile({ backing }: RamBlock): boolean {
  return backing.kind === "path" && !backing.created;
}
