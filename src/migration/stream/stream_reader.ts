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
  StateReader,
  VmStateError,
} from "../../vmstate/vmstate.ts";
import { readCommand } from "./commands.ts";
import { readConfiguration } from "./configuration.ts";
import {
  descriptionMaximum,
  fileMagic,
  fileVersion,
  obsoleteFileVersion,
  pageSize,
  ramSectionName,
  ramSectionVersion,
  SectionType,
} from "./constants.ts";
import { StreamErrno, StreamError } from "./errors.ts";
import { type RamFormat, RamRecordReader } from "./ram_records.ts";
import type { RamPart, SectionHeader, StreamItem } from "./stream_items.ts";

export type { RamPart, SectionHeader, StreamItem } from "./stream_items.ts";

/** Largest item that is buffered as a whole: the state of a device with many requests in flight. */
const itemMaximum = 64 * 1024 * 1024;
const defaultReadSize = 64 * 1024;

/** What a reader has to know of the machine. */
export interface StreamReaderOptions {
  /**
   * Descriptions of the section's state, `undefined` if there is no such device. Of several, the first
   * that fits is taken: for looking at a stream without knowing how the device was configured.
   */
  devices(idstr: string, instanceId: number): readonly StateDescription<unknown>[] | undefined;
  /** Host page size of a block; by default 4096. Matters with postcopy only. */
  hostPageSize?(block: string): number;
  /** Whether to record where each field of a device's state lay. */
  trace?: boolean;
  /** Offset of the stream in its file (`file:PATH,offset=N`). mapped-ram counts from the file's start. */
  offset?: number;
  /** The whole stream, when it is in memory already. */
  bytes?: Uint8Array<ArrayBuffer>;
  /** Bytes of {@linkcode StreamReader.space} at least; 64 KiB by default. */
  readSize?: number;
  /**
   * Takes as many records of pages as it can from the beginning of `bytes`. `block` is the block of the
   * record before; that of the last one is returned. Records that it leaves come as items.
   */
  loadPages?(bytes: Uint8Array<ArrayBuffer>, block: string | undefined): LoadedPages;
}

/** What became of the bytes. */
export interface LoadedPages {
  readonly consumed: number;
  readonly block: string | undefined;
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
  #state: State = { at: "header" };
  /** Where the package ends that is being read (PACKAGED). */
  #packageEnd: number | undefined;
  /** Memory for the bytes, of which those from the reader's offset to `#filled` are not consumed. */
  #buffer: Uint8Array<ArrayBuffer>;
  #filled: number;
  #reader: StateReader;
  #final: boolean;
  /** Bytes that have to be there before it makes sense to try again. */
  #awaited = 0;
  #epilogue = false;

  constructor(options: StreamReaderOptions) {
    this.#options = options;
    this.#final = options.bytes !== undefined;
    this.#buffer = options.bytes ?? new Uint8Array(options.readSize ?? defaultReadSize);
    this.#filled = options.bytes?.length ?? 0;
    this.#reader = this.#newReader(0, options.offset ?? 0);
  }

  /** The bytes that `data` of a page record is an index in. Valid until bytes are added. */
  get bytes(): Uint8Array {
    return this.#reader.bytes;
  }

  /** Which optional parts the records of the `ram` section have, as far as the stream has told. */
  get ramFormat(): Readonly<RamFormat> {
    return this.#ramFormat;
  }

  /** Stream offset of the next item. */
  get offset(): number {
    return this.#reader.streamOffset;
  }

  /**
   * Stream offset of the next byte to be added. It jumps over the pages of a mapped-ram file, where the
   * user has to seek.
   */
  get wantedOffset(): number {
    return this.#reader.base + this.#filled;
  }

  /** Memory to put the next bytes of the stream into. */
  space(): Uint8Array<ArrayBuffer> {
    const used = this.#filled - this.#reader.offset;
    const readSize = this.#options.readSize ?? defaultReadSize;
    if (this.#buffer.length - this.#filled < readSize) {
      const wanted = Math.max(used, this.#awaited) + readSize;
      const target = wanted > this.#buffer.length
        ? new Uint8Array(Math.max(wanted, 2 * this.#buffer.length))
        : this.#buffer;
      target.set(this.#buffer.subarray(this.#reader.offset, this.#filled));
      this.#buffer = target;
      this.#filled = used;
      this.#reader = this.#newReader(0, this.#reader.streamOffset);
    }
    return this.#buffer.subarray(this.#filled);
  }

  /** Says that `count` bytes were put into {@linkcode space}. */
  filled(count: number): void {
    this.#filled += count;
    this.#reader = this.#newReader(this.#reader.offset, this.#reader.base);
  }

  /** Adds a copy of bytes. */
  push(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length;) {
      const space = this.space();
      const part = bytes.subarray(from, from + space.length);
      space.set(part);
      this.filled(part.length);
      from += part.length;
    }
  }

  /**
   * The bytes at hand, if they are at a place where records of pages may come: for somebody who reads on
   * until something else comes, and then says so by {@linkcode pagesTaken}.
   */
  pageBuffer(): PageBuffer | undefined {
    if (this.#state.at !== "ram" || !this.#ram.expectsPages || this.#final) return undefined;
    return {
      bytes: this.#buffer,
      start: this.#reader.offset,
      end: this.#filled,
      consumed: 0,
      block: this.#ram.currentBlock,
      ended: false,
    };
  }

  /** Goes on behind the pages that somebody took. */
  pagesTaken({ start, end, consumed, block }: PageBuffer): void {
    const base = this.#reader.streamOffset + consumed - start;
    this.#filled = end;
    this.#reader = this.#newReader(start, base);
    this.#ram.currentBlock = block;
    this.#awaited = 0;
  }

  /** Says that no more bytes come. */
  end(): void {
    this.#final = true;
    this.#reader = this.#newReader(this.#reader.offset, this.#reader.base);
  }

  /** Has commands read behind the end of the stream (COMMIT, ABORT), until the bytes end. */
  expectEpilogue(): void {
    this.#epilogue = true;
  }

  /** The next item, or `undefined` when more bytes are needed. Throws StreamError or VmStateError. */
  next(): StreamItem | undefined {
    const reader = this.#reader;
    if (!this.#final && reader.remaining < this.#awaited) return undefined;
    for (;;) {
      const start = reader.offset;
      try {
        const item = this.#step(reader);
        this.#awaited = 0;
        if (this.#packageEnd !== undefined) this.#checkPackage(reader.base + start);
        if (item !== undefined) return item;
        // A skip over mapped pages makes a new reader.
        if (reader !== this.#reader) return this.next();
      } catch (error) {
        if (!(error instanceof OutOfDataError)) throw error;
        if (this.#final) {
          throw new StreamError("Stream ends in the middle", error.offset ?? this.offset, {
            errno: StreamErrno.EIO,
            cause: error,
          });
        }
        reader.offset = start;
        this.#awaited = reader.remaining + error.missing;
        if (this.#awaited > itemMaximum) {
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

  #newReader(offset: number, base: number): StateReader {
    const bytes = this.#buffer.subarray(0, this.#filled);
    return new StateReader(bytes, { offset, base, final: this.#final });
  }

  /** Reads one item, or moves on without one. */
  #step(reader: StateReader): StreamItem | undefined {
    switch (this.#state.at) {
      case "header":
        this.#readHeader(reader);
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
    if (!this.#epilogue || (this.#final && reader.remaining === 0)) return undefined;
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

  #readHeader(reader: StateReader): void {
    const offset = reader.streamOffset;
    const magic = reader.u32();
    if (magic !== fileMagic) {
      throw new StreamError(
        `Not a migration stream, magic: ${magic.toString(16)} != ${fileMagic.toString(16)}`,
        offset,
      );
    }
    const version = reader.u32();
    if (version === obsoleteFileVersion) {
      throw new StreamError(
        "SaveVM v2 format is obsolete and no longer supported",
        offset + 4,
        { errno: StreamErrno.ENOTSUP },
      );
    }
    if (version !== fileVersion) {
      throw new StreamError(
        `Unsupported migration stream version, file version ${version} != ${fileVersion}`,
        offset + 4,
        { errno: StreamErrno.ENOTSUP },
      );
    }
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
    const section: SectionHeader = {
      sectionId: reader.u32(),
      idstr: reader.string8(),
      instanceId: reader.u32(),
      version: reader.u32(),
    };
    const { idstr, instanceId, version } = section;
    if (idstr === ramSectionName && instanceId === 0) {
      if (version !== ramSectionVersion) {
        throw unsupportedVersion(section, ramSectionVersion, offset);
      }
      this.#sections.set(section.sectionId, section);
      this.#state = { at: "ram", part, section };
      return { kind: "ram begins", offset, part, section };
    }
    const descriptions = this.#options.devices(idstr, instanceId);
    const newest = descriptions?.[0];
    if (descriptions === undefined || newest === undefined) {
      throw new StreamError(
        `Unknown section or instance '${idstr}' ${instanceId}. Make sure that your current VM setup matches your saved VM setup, including any hotplugged devices`,
        offset,
      );
    }
    if (part === "start") {
      throw new StreamError(`Section '${idstr}' ${instanceId} cannot come in parts`, offset);
    }
    if (version > newest.version) throw unsupportedVersion(section, newest.version, offset);
    const bodyOffset = reader.streamOffset;
    const decoded = this.#decode(reader, section, descriptions);
    const size = reader.streamOffset - offset;
    const bodySize = size - footerSize - (bodyOffset - offset);
    return { kind: "device", offset, size, section, bodyOffset, bodySize, ...decoded };
  }

  /** Decodes a body and its footer by the first description that fits. */
  #decode(
    reader: StateReader,
    section: SectionHeader,
    descriptions: readonly StateDescription<unknown>[],
  ) {
    const start = reader.offset;
    let failure: unknown;
    for (const description of descriptions) {
      reader.offset = start;
      reader.trace = this.#options.trace ? [] : undefined;
      try {
        const state = description.decode(reader, section.version);
        const fields = reader.trace;
        readFooter(reader, section);
        return { description, state, fields };
      } catch (error) {
        if (!(error instanceof VmStateError)) throw error;
        if (error instanceof OutOfDataError && !this.#final) throw error;
        // The first description is the likeliest: its error says most.
        failure ??= inSection(error, section, this.#final);
      } finally {
        reader.trace = undefined;
      }
    }
    throw failure;
  }

  #readRam(reader: StateReader, state: State & { at: "ram" }): StreamItem | undefined {
    const { part, section } = state;
    const offset = reader.streamOffset;
    if (this.#loadPages(reader)) return undefined;
    let record;
    try {
      record = this.#ram.read(reader);
    } catch (error) {
      throw error instanceof VmStateError ? inSection(error, section, this.#final) : error;
    }
    if (record === undefined) return undefined;
    if (record.kind === "continue at") {
      this.#skipTo(record.offset, section);
      return undefined;
    }
    if (record.kind === "end of records") this.#state = { at: "footer", part, section };
    return { kind: "ram", offset, record };
  }

  /** Has pages loaded in bulk. False if there were none at the beginning. */
  #loadPages(reader: StateReader): boolean {
    if (this.#options.loadPages === undefined || !this.#ram.expectsPages) return false;
    const { consumed, block } = this.#options.loadPages(
      this.#buffer.subarray(reader.offset, this.#filled),
      this.#ram.currentBlock,
    );
    if (consumed === 0) return false;
    reader.skip(consumed);
    this.#ram.currentBlock = block;
    return true;
  }

  /** Goes on reading at an offset ahead. */
  #skipTo(offset: number, section: SectionHeader): void {
    const { base } = this.#reader;
    const end = base + this.#filled;
    if (offset <= end) {
      this.#reader.offset = offset - base;
      return;
    }
    if (this.#final) {
      throw inSection(new OutOfDataError(offset - end, end), section, true);
    }
    this.#filled = 0;
    this.#reader = this.#newReader(0, offset);
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

const footerSize = 5;

/** Reads a section's footer. */
function readFooter(reader: StateReader, section: SectionHeader): void {
  const offset = reader.streamOffset;
  const type = reader.u8();
  const sectionId = type === SectionType.footer ? reader.u32() : section.sectionId;
  if (type === SectionType.footer && sectionId === section.sectionId) return;
  const detail = type === SectionType.footer
    ? `Mismatched section id in footer for ${section.idstr} - read 0x${
      sectionId.toString(16)
    } expected 0x${section.sectionId.toString(16)}`
    : `Missing section footer for ${section.idstr}`;
  throw new StreamError(`Section footer error, section_id: ${section.sectionId}`, offset, {
    cause: new VmStateError(detail),
  }).inSection(section.idstr, section.instanceId);
}

function unsupportedVersion(section: SectionHeader, own: number, offset: number): StreamError {
  return new StreamError(
    `unsupported version ${section.version} for '${section.idstr}' v${own}`,
    offset,
  ).inSection(section.idstr, section.instanceId);
}

/** An error with its section; when no more bytes can come, running out of them is an error like others. */
function inSection(error: VmStateError, section: SectionHeader, final: boolean): VmStateError {
  error.inSection(section.idstr, section.instanceId);
  if (!final || !(error instanceof OutOfDataError)) return error;
  const failure = new StreamError(
    `Failed to load vmstate version_id: ${section.version}, ret: -${StreamErrno.EIO}`,
    error.offset ?? 0,
    { errno: StreamErrno.EIO, cause: error },
  );
  failure.path = error.path;
  return failure.inSection(section.idstr, section.instanceId);
}
