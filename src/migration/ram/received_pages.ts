/**
 * Pages that come as records: the memory they go to, and what is zero there already, so that pages that
 * stay so need not be touched.
 */
import type { IncomingChannel } from "../../channel/channel.ts";
import { PAGE_SIZE, type RamBlock } from "../../memory/ram_block.ts";
import { PageBitmap } from "../../native/pages.ts";
import { type PageBuffer, RamTargets } from "../../native/ram_load.ts";
import { dropUnwritten } from "./unwritten.ts";

/** Puts pages into the machine's memory. */
export class ReceivedPages implements Disposable {
  readonly #resources: DisposableStack;
  /** The machine's memory for the C library. */
  readonly targets: RamTargets;
  /** By block: the pages that may hold something else than zeros. */
  readonly #written: ReadonlyMap<RamBlock, PageBitmap>;

  private constructor(
    resources: DisposableStack,
    targets: RamTargets,
    written: ReadonlyMap<RamBlock, PageBitmap>,
  ) {
    this.#resources = resources;
    this.targets = targets;
    this.#written = written;
  }

  /** `blocks` have their length. */
  static async prepare(blocks: readonly RamBlock[]): Promise<ReceivedPages> {
    using resources = new DisposableStack();
    const targets = [];
    const bitmaps = new Map<RamBlock, PageBitmap>();
    for (const block of blocks) {
      const pages = block.usedLength / PAGE_SIZE;
      const written = resources.use(new PageBitmap(pages));
      written.fill(true);
      await dropUnwritten(block, written, 0, pages);
      bitmaps.set(block, written);
      const { name, usedLength: length, mapping: memory } = block;
      targets.push({ name, length, memory, written });
    }
    const table = resources.use(new RamTargets(targets));
    return new ReceivedPages(resources.move(), table, bitmaps);
  }

  /** All of the block is zero: nothing else was there before, and nothing else has come. */
  isZero(block: RamBlock): boolean {
    return this.#written.get(block)?.count() === 0;
  }

  /** Takes records of pages from the buffer and then from the channel, until something else comes. */
  async receive(channel: IncomingChannel, buffer: PageBuffer): Promise<void> {
    await channel.readInBulk((address) => this.targets.receive(address, buffer));
  }

  [Symbol.dispose](): void {
    this.#resources[Symbol.dispose]();
  }
}
