/**
 * Live precopy: pages are sent while the guest runs, and again if it wrote them since.
 *
 *   begin     block list                              recording of writes begins
 *   pass      [ pages not sent, in address order ]    until little enough is left, or all was sent
 *   pass      [ pages written meanwhile ] ...         true when the rest fits the downtime limit
 *   finish    [ the rest ]                            the guest has stopped
 */
import { PAGE_SIZE } from "../../memory/ram_block.ts";
import { MigrationCancelled } from "../errors.ts";
import { RAM_SECTION_ID } from "../device_state.ts";
import type { StreamWriter } from "../stream/stream_writer.ts";
import { AutoConverge, type AutoConvergeParameters, type CpuThrottle } from "./auto_converge.ts";
import { BandwidthMeter, type DowntimeLimits } from "./convergence.ts";
import { DirtyPages, type DirtyRange, type WriteSources } from "./dirty_pages.ts";
import { inParallel } from "./parallel.ts";
import { RateLimiter } from "./rate_limiter.ts";
import { blockListing, emptyRamStatistics, type RamListing, type RamSender } from "./sender.ts";
import type { PageTransport } from "./transport.ts";

/** Dirty pages in a range that is handed to a thread: 16 MiB, some milliseconds' work. */
const RANGE_PAGES = 4096;
/** With auto-converge, writes are synchronised at least so often, however long a pass takes. */
const LONGEST_PASS_MS = 5000;

/** The parameters that govern a precopy, asked for whenever they are used. */
export interface PrecopyParameters extends DowntimeLimits {
  /** Bytes per second; 0: no limit. */
  readonly maxBandwidth: number;
}

/** What a precopy works with. */
export interface PrecopyOptions {
  readonly writer: StreamWriter;
  /** Sends what the writer has collected. */
  readonly flush: () => Promise<void>;
  /** All blocks, in the order of the list. */
  readonly listings: readonly RamListing[];
  readonly sources: WriteSources;
  readonly transport: PageTransport;
  readonly parameters: () => PrecopyParameters;
  /** auto-converge, if it is on. */
  readonly autoConverge?: {
    readonly throttle: CpuThrottle;
    readonly parameters: () => AutoConvergeParameters;
  };
  /** Aborted when somebody cancels the migration. */
  readonly signal: AbortSignal;
  /** Notified of each pass but the first, with its number (MIGRATION_PASS). */
  readonly passBegins: (pass: number) => void;
}

/** Sends RAM in passes. */
export class PrecopySender implements RamSender {
  readonly statistics = emptyRamStatistics();
  readonly #options: PrecopyOptions;
  readonly #dirty: DirtyPages;
  readonly #limiter: RateLimiter;
  readonly #bandwidth = new BandwidthMeter();
  readonly #autoConverge: AutoConverge | undefined;
  #synchronisedAt = performance.now();
  /** When the first pages could be sent. */
  #begunAt = performance.now();

  constructor(options: PrecopyOptions) {
    const { listings, sources, parameters, signal, autoConverge } = options;
    this.#options = options;
    const sent = listings.filter(({ ignored }) => !ignored).map(({ block }) => block);
    this.#dirty = new DirtyPages(sent, sources);
    this.#limiter = new RateLimiter(() => parameters().maxBandwidth, signal);
    this.#autoConverge = autoConverge &&
      new AutoConverge(autoConverge.throttle, autoConverge.parameters);
    this.statistics.total = sent.reduce((sum, { usedLength }) => sum + usedLength, 0);
  }

  async begin(): Promise<void> {
    const { writer, listings, transport, flush } = this.#options;
    await transport.open?.();
    writer.beginRam("start", RAM_SECTION_ID);
    if (transport.listBlocks) await transport.listBlocks(listings);
    else writer.ram.blocks(listings.map(blockListing));
    await transport.synchronise();
    writer.endRam(RAM_SECTION_ID);
    await flush();
    this.#dirty.start();
    this.#begunAt = performance.now();
    this.#noteRemaining();
  }

  async pass(): Promise<boolean> {
    const first = this.statistics.dirtySyncCount === 0;
    if (first) this.statistics.dirtySyncCount = 1;
    else await this.#synchronise();
    if (this.#littleLeft()) return true;
    await this.#section("part", async () => {
      const limit = this.#autoConverge === undefined
        ? Infinity
        : this.#synchronisedAt + LONGEST_PASS_MS;
      await this.#send(() => !this.#littleLeft() && performance.now() < limit, true);
    });
    return false;
  }

  async finish(): Promise<void> {
    await this.#synchronise();
    await this.#section("end", async () => {
      while (this.#dirty.remaining > 0) await this.#send(() => true, false);
      await this.#options.transport.complete?.();
    });
    this.#noteAverages();
  }

  /** What remains to be notified of a complete transfer, which may have been shorter than one sample. */
  #noteAverages(): void {
    const { statistics } = this;
    const seconds = Math.max(performance.now() - this.#begunAt, 1) / 1000;
    statistics.mbps = statistics.transferred * 8 / 1e6 / seconds;
    statistics.pagesPerSecond = Math.round((statistics.normal + statistics.duplicate) / seconds);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { autoConverge, transport } = this.#options;
    if (autoConverge !== undefined) autoConverge.throttle.percentage = 0;
    await transport[Symbol.asyncDispose]();
    this.#dirty[Symbol.dispose]();
  }

  /** A part of the `ram` section around `pages`. */
  async #section(part: "part" | "end", pages: () => Promise<void>): Promise<void> {
    const { writer, transport, flush } = this.#options;
    writer.beginRam(part, RAM_SECTION_ID);
    await pages();
    await transport.synchronise();
    writer.endRam(RAM_SECTION_ID);
    await flush();
  }

  /** Sends the sweep's ranges while `goOn` says so, as many at a time as the transport takes. */
  async #send(goOn: () => boolean, limited: boolean): Promise<void> {
    this.#dirty.beginSweep();
    await inParallel(
      this.#options.transport.parallel,
      async () => goOn() ? await this.#nextRange(limited) : undefined,
      (range) => this.#sendRange(range, limited),
    );
  }

  async #nextRange(limited: boolean): Promise<DirtyRange | undefined> {
    const quota = limited ? await this.#limiter.quota() : Infinity;
    if (this.#options.signal.aborted) throw new MigrationCancelled();
    const pages = Math.min(Math.max(Math.floor(quota / PAGE_SIZE), 1), RANGE_PAGES);
    const range = this.#dirty.next(pages);
    if (range !== undefined && limited) this.#limiter.use(range.count * PAGE_SIZE);
    return range;
  }

  async #sendRange(range: DirtyRange, limited: boolean): Promise<void> {
    const { statistics } = this;
    await this.#dirty.prepare(range);
    const { bytes, apart = 0, normal, zero } = await this.#options.transport.send(range);
    this.#dirty.done(range);
    if (limited) this.#limiter.use(bytes - range.count * PAGE_SIZE);
    this.#bandwidth.add(bytes, normal + zero);
    statistics.transferred += bytes;
    statistics.multifdBytes += apart;
    if (limited) statistics.precopyBytes += bytes - apart;
    else statistics.downtimeBytes += bytes - apart;
    statistics.normal += normal;
    statistics.duplicate += zero;
    statistics.mbps = this.#bandwidth.megabitsPerSecond;
    statistics.pagesPerSecond = this.#bandwidth.pagesPerSecond;
    this.#noteRemaining();
  }

  async #synchronise(): Promise<void> {
    const { statistics } = this;
    const dirtied = await this.#dirty.sync();
    const now = performance.now();
    const elapsed = now - this.#synchronisedAt;
    this.#synchronisedAt = now;
    statistics.dirtySyncCount++;
    if (elapsed > 0) statistics.dirtyPagesRate = Math.floor(dirtied * 1000 / elapsed);
    this.#noteRemaining();
    this.#autoConverge?.synchronised(dirtied, statistics.transferred);
    const throttle = this.#options.autoConverge?.throttle.percentage ?? 0;
    statistics.cpuThrottlePercentage = throttle > 0 ? throttle : undefined;
    this.#options.passBegins(statistics.dirtySyncCount);
  }

  #littleLeft(): boolean {
    return this.#bandwidth.fits(this.#dirty.remaining, this.#options.parameters());
  }

  #noteRemaining(): void {
    const { remaining } = this.#dirty;
    const { switchoverBandwidth } = this.#options.parameters();
    const time = this.#bandwidth.timeFor(remaining, switchoverBandwidth);
    this.statistics.remaining = remaining * PAGE_SIZE;
    this.statistics.expectedDowntime = time === undefined ? undefined : Math.round(time);
  }
}
