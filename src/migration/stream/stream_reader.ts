/**
 * Reading a migration stream from bytes as they come.
 *
 *     header, configuration, { command | section }, end of stream, description
 *
 * A section has a header, a body and a footer. FULL sections hold the state of one device and are
 * decoded as a whole; the `ram` section comes in several parts (START, PART, END), whose records are
 * given one by one.
 *
 * The reader does no I/O. Its user asks for the next item until there is none, then adds bytes:
 *
 *     for (;;) {
 *       const item = reader.next();
 *       if (item === undefined) {
 *         const count = read(reader.space(), reader.wantedOffset);
 *         count === 0 ? reader.end() : reader.filled(count);
 *       } else if (item.kind === "end") break;
 *       else handle(item);
 *     }
 *
 * Nothing is consumed until an item is complete, so that the same bytes are looked at again when more
 * have come. Page contents are left in the reader's buffer and are valid until bytes are added.
 */
import type { PageBuffer } from "../../native/ram_load.ts";
import {
  OutOfDataError,
  type StateDescription,
  type StateReader,
  VmStateError,
} from "../../vmstate/vmstate.ts";
import { readCommand } from "./commands.ts";
import { readConfiguration } from "./configuration.ts";
import {
  descriptionMaximum,
  pageSize,
  ramSectionName,
  ramSectionVersion,
  SectionType,
} from "./constants.ts";
import { StreamErrno, StreamError } from "./errors.ts";
import { readFileHeader } from "./file_header.ts";
import { type RamFormat, RamRecordReader } from "./ram_records.ts";
import {
  footerSize,
  inSection,
  readDeviceState,
  readFooter,
  readSectionHeader,
  unsupportedVersion,
} from "./section.ts";
import { StreamBuffer, type StreamBufferOptions } from "./stream_buffer.ts";
import type { RamPart, SectionHeader, StreamItem } from "./stream_items.ts";

export type { RamPart, SectionHeader, StreamItem } from "./stream_items.ts";

/** Largest item that is buffered as a whole: the state of a device with many requests in flight. */
const itemMaximum = 64 * 1024 * 1024;

/** What a reader has to know of the machine. */
export interface StreamReaderOptions extends StreamBufferOptions {
  /**
   * Descriptions of the section's state, `undefined` if there is no such device. Of several, the first
   * that fits is taken: for looking at a stream without knowing how the device was configured.
   */
  devices(
    idstr: string,
    instanceId: number,
    sectionId: number,
  ): readonly StateDescription<unknown>[] | undefined;
  /** Host page size of a block; by default 4096. Matters with postcopy only. */
  hostPageSize?(block: string): number;
  /** Whether to record where each field of a device's state lay. */
  trace?: boolean;
  /**
   * Records of pages do not come one by one but as an item `pages`, wherever one begins: its user has the
   * C library take them, from {@linkcode StreamReader.lendPages} on.
   */
  pagesInBulk?: boolean;
}

/** What to do about a section that the machine has no device for; QEMU's text where there is nothing better. */
function adviceOnUnknown(idstr: string): string {
  if (idstr === "slirp") {
    return "The source has a user network (-netdev user, which QEMU adds by itself without -nodefaults): " +
      "start it with '-nodefaults' or '-nic none', or with another network such as '-netdev tap' or " +
      "'-netdev stream'";
  }
  return "Make sure that your current VM setup matches your saved VM setup, including any hotplugged devices";
}

type State =
  | { readonly at: "header" }
  | { readonly at: "configuration" }
  | { readonly at: "items" }
  | { readonly at: "ram"; readonly part: RamPart; readonly section: SectionHeader }
  | { readonly at: "footer"; readonly part: RamPart; readonly section: SectionHeader }
  | { readonly at: "description" }
  | { readonly at: "end" };

/** Reads one stream. After an error it cannot be used any more. */
export class StreamReader {
  readonly #options: StreamReaderOptions;
  readonly #ramFormat: RamFormat = {
    ignoreShared: false,
    mappedRam: false,
    postcopy: false,
    hostPageSize: (block) => this.#options.hostPageSize?.(block) ?? pageSize,
  };
  readonly #ram = new RamRecordReader(this.#ramFormat);
  readonly #sections = new Map<number, SectionHeader>();
  readonly #buffer: StreamBuffer;
  #state: State = { at: "header" };
  /** Where the package ends that is being read (PACKAGED). */
  #packageEnd: number | undefined;
  #epilogue = false;
  /** Where pages were taken in bulk: what is there now is for nobody but the reader. */
  #pagesTakenAt: number | undefined;

  constructor(options: StreamReaderOptions) {
    this.#options = options;
    this.#buffer = new StreamBuffer(options);
  }

  /** The bytes that `data` of a page record is an index in. Valid until bytes are added. */
  get bytes(): Uint8Array {
    return this.#buffer.cursor.bytes;
  }

  /** Which optional parts the records of the `ram` section have, as far as the stream has said. */
  get ramFormat(): Readonly<RamFormat> {
    return this.#ramFormat;
  }

  /** Stream offset of the next item. */
  get offset(): number {
    return this.#buffer.cursor.streamOffset;
  }

  /**
   * Stream offset of the next byte to be added. It jumps over the pages of a mapped-ram file, where the
   * user has to seek.
   */
  get wantedOffset(): number {
    return this.#buffer.wantedOffset;
  }

  /** Memory to put the next bytes of the stream into. */
  space(): Uint8Array<ArrayBuffer> {
    return this.#buffer.space();
  }

  /** Says that `count` bytes were put into {@linkcode space}. */
  filled(count: number): void {
    this.#buffer.filled(count);
  }

  /** Adds a copy of bytes. */
  push(bytes: Uint8Array): void {
    this.#buffer.push(bytes);
  }

  /**
   * The bytes at hand, after an item `pages`. Whoever takes records of pages from there, and from what comes
   * behind, gives back what is left by {@linkcode returnPages} before anything else is asked for.
   */
  lendPages(): PageBuffer {
    return this.#buffer.lend(this.#ram.currentBlock);
  }

  /** Goes on behind the pages that somebody took. */
  returnPages(pages: PageBuffer): void {
    this.#buffer.takeBack(pages);
    this.#ram.currentBlock = pages.block;
    this.#pagesTakenAt = this.offset;
    if (pages.ended) this.end();
  }

  /** Says that no more bytes come. */
  end(): void {
    this.#buffer.end();
  }

  /** Has commands read behind the end of the stream (COMMIT, ABORT), until the bytes end. */
  expectEpilogue(): void {
    this.#epilogue = true;
  }

  /** The next item, or `undefined` when more bytes are needed. Throws StreamError or VmStateError. */
  next(): StreamItem | undefined {
    if (!this.#buffer.ready) return undefined;
    const reader = this.#buffer.cursor;
    for (;;) {
      const start = reader.offset;
      try {
        const item = this.#step(reader);
        this.#buffer.awaited = 0;
        if (this.#packageEnd !== undefined) this.#checkPackage(reader.base + start);
        if (item !== undefined) return item;
        // A skip over mapped pages makes a new cursor.
        if (reader !== this.#buffer.cursor) return this.next();
      } catch (error) {
        if (!(error instanceof OutOfDataError)) throw error;
        if (this.#buffer.final) {
          throw new StreamError("Stream ends in the middle", error.offset ?? this.offset, {
            errno: StreamErrno.EIO,
            cause: error,
          });
        }
        reader.offset = start;
        this.#buffer.awaited = reader.remaining + error.missing;
        if (this.#buffer.awaited > itemMaximum) {
          throw new StreamError(
            `an item of more than ${itemMaximum} bytes`,
            reader.streamOffset,
            { cause: error },
          );
        }
        return undefined;
      }
    }
  }

  /** A package has to end where an item ends. `start` is where the latest item began. */
  #checkPackage(start: number): void {
    const end = this.#packageEnd ?? 0;
    if (this.offset > end) {
      throw new StreamError(`package ends at 0x${end.toString(16)}, inside an item`, start);
    }
    if (this.offset === end) this.#packageEnd = undefined;
  }

  /** Reads one item, or moves on without one. */
  #step(reader: StateReader): StreamItem | undefined {
    switch (this.#state.at) {
      case "header":
        readFileHeader(reader);
        this.#state = { at: "configuration" };
        return undefined;
      case "configuration": {
        const item = this.#readConfiguration(reader);
        this.#state = { at: "items" };
        return item;
      }
      case "items":
        return this.#readItem(reader);
      case "ram":
        return this.#readRam(reader, this.#state);
      case "footer": {
        const { part, section } = this.#state;
        const offset = reader.streamOffset;
        readFooter(reader, section);
        this.#state = { at: "items" };
        return { kind: "ram ends", offset, part, section };
      }
      case "description":
        return this.#readDescription(reader);
      case "end":
        return this.#readEpilogue(reader) ?? { kind: "end", offset: reader.streamOffset };
    }
  }

  /** A command behind the end, if some are to be expected and the bytes have not ended. */
  #readEpilogue(reader: StateReader): StreamItem | undefined {
    if (!this.#epilogue || (this.#buffer.final && reader.remaining === 0)) return undefined;
    const offset = reader.streamOffset;
    const type = reader.u8();
    if (type !== SectionType.command) {
      throw new StreamError(`Unknown section type ${type} behind the end of the stream`, offset);
    }
    return {
      kind: "command",
      offset,
      command: readCommand(reader),
      size: reader.streamOffset - offset,
    };
  }

  #readConfiguration(reader: StateReader): StreamItem {
    const offset = reader.streamOffset;
    const type = reader.u8();
    if (type !== SectionType.configuration) {
      throw new StreamError(
        `Configuration section missing, ${type} != ${SectionType.configuration}`,
        offset,
      );
    }
    const configuration = readConfiguration(reader);
    this.#ramFormat.ignoreShared = configuration.capabilities.includes("x-ignore-shared");
    this.#ramFormat.mappedRam = configuration.capabilities.includes("mapped-ram");
    const size = reader.streamOffset - offset;
    return { kind: "configuration", offset, size, configuration };
  }

  #readItem(reader: StateReader): StreamItem | undefined {
    const offset = reader.streamOffset;
    const type = reader.u8();
    switch (type) {
      case SectionType.eof:
        this.#state = { at: this.#ramFormat.postcopy ? "end" : "description" };
        return { kind: "end of stream", offset };
      case SectionType.command: {
        const command = readCommand(reader);
        if (command.name === "POSTCOPY_ADVISE") this.#ramFormat.postcopy = true;
        if (command.name === "PACKAGED") {
          if (this.#packageEnd !== undefined) throw new StreamError("package in a package", offset);
          this.#packageEnd = reader.streamOffset + command.length;
        }
        return { kind: "command", offset, size: reader.streamOffset - offset, command };
      }
      case SectionType.start:
      case SectionType.full:
        return this.#readSection(reader, offset, type === SectionType.start ? "start" : "full");
      case SectionType.part:
      case SectionType.end: {
        const sectionId = reader.u32();
        const section = this.#sections.get(sectionId);
        if (section === undefined) {
          throw new StreamError(`Unknown section ${sectionId}`, offset);
        }
        const part = type === SectionType.part ? "part" : "end";
        this.#state = { at: "ram", part, section };
        return { kind: "ram begins", offset, part, section };
      }
      default:
        throw new StreamError(`Unknown section type ${type}`, offset);
    }
  }

  #readSection(reader: StateReader, offset: number, part: "start" | "full"): StreamItem {
    const section = readSectionHeader(reader);
    const { idstr, instanceId, version, sectionId } = section;
    if (idstr === ramSectionName && instanceId === 0) {
      if (version !== ramSectionVersion) {
        throw unsupportedVersion(section, ramSectionVersion, offset);
      }
      this.#sections.set(sectionId, section);
      this.#state = { at: "ram", part, section };
      return { kind: "ram begins", offset, part, section };
    }
    const descriptions = this.#options.devices(idstr, instanceId, sectionId);
    const newest = descriptions?.[0];
    if (descriptions === undefined || newest === undefined) {
      throw new StreamError(
        `Unknown section or instance '${idstr}' ${instanceId}. ${adviceOnUnknown(idstr)}`,
        offset,
      );
    }
    if (part === "start") {
      throw new StreamError(`Section '${idstr}' ${instanceId} cannot come in parts`, offset);
    }
    const fitting = descriptions.filter((description) => version <= description.version);
    if (fitting.length === 0) throw unsupportedVersion(section, newest.version, offset);
    const bodyOffset = reader.streamOffset;
    const decoded = readDeviceState(reader, section, fitting, {
      trace: this.#options.trace ?? false,
      final: this.#buffer.final,
    });
    const size = reader.streamOffset - offset;
    const bodySize = size - footerSize - (bodyOffset - offset);
    return { kind: "device", offset, size, section, bodyOffset, bodySize, ...decoded };
  }

  #readRam(reader: StateReader, state: State & { at: "ram" }): StreamItem | undefined {
    const { part, section } = state;
    const offset = reader.streamOffset;
    const inBulk = this.#options.pagesInBulk === true && offset !== this.#pagesTakenAt;
    if (inBulk && this.#ram.pagesAhead(reader)) return { kind: "pages", offset };
    let record;
    try {
      record = this.#ram.read(reader);
    } catch (error) {
      throw error instanceof VmStateError ? inSection(error, section, this.#buffer.final) : error;
    }
    if (record === undefined) return undefined;
    if (record.kind === "continue at") {
      this.#skipTo(record.offset, section);
      return undefined;
    }
    if (record.kind === "end of records") this.#state = { at: "footer", part, section };
    return { kind: "ram", offset, record };
  }

  /** Goes on reading at an offset ahead. */
  #skipTo(offset: number, section: SectionHeader): void {
    const missing = this.#buffer.skipTo(offset);
    if (missing === 0) return;
    throw inSection(new OutOfDataError(missing, offset - missing), section, true);
  }

  #readDescription(reader: StateReader): StreamItem {
    const offset = reader.streamOffset;
    const type = reader.peek();
    if (type === undefined) {
      this.#state = { at: "end" };
      return { kind: "end", offset };
    }
    if (type === SectionType.command && this.#epilogue) {
      this.#state = { at: "end" };
      return this.#readEpilogue(reader) ?? { kind: "end", offset };
    }
    // Anything else means that the end is not one: an altered byte would cut off the rest unnoticed.
    if (type !== SectionType.description) {
      throw new StreamError(`Expected vmdescription section, but got ${type}`, offset);
    }
    reader.skip(1);
    const text = reader.latin1(reader.count(descriptionMaximum));
    this.#state = { at: "end" };
    return { kind: "description", offset, size: reader.streamOffset - offset, text };
  }
}
