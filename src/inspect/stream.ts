/**
 * Migration streams and snapshots: reads one to its end, or as far as it can be read. Sections of devices
 * that molt has are read by molt's own declarations; others, and what does not fit those, by what the
 * stream says of them at its end; where it says nothing, as bytes.
 */
import { PAGE_SIZE } from "../memory/ram_block.ts";
import { formatUuid } from "../migration/stream/configuration.ts";
import { knownSection } from "../migration/stream/known_sections.ts";
import type { MappedRamPlace } from "../migration/stream/mapped_ram.ts";
import type { RamBlockEntry, RamRecord } from "../migration/stream/ram_records.ts";
import { type StreamItem, StreamReader } from "../migration/stream/stream_reader.ts";
import { applyXbzrle } from "../migration/stream/xbzrle.ts";
import { VmStateError } from "../vmstate/vmstate.ts";
import type { StateDescription } from "../vmstate/vmstate.ts";
import { BlockPages } from "./block_pages.ts";
import { describedState, unknownState } from "./described_state.ts";
import type { Source } from "./source.ts";
import type {
  BlockReport,
  DeviceReport,
  Part,
  Problem,
  RamRecords,
  StreamReport,
} from "./report.ts";
import { VmDescription } from "./vm_description.ts";

/** Bytes of the stream's magic and version. */
const HEADER_SIZE = 8;
/** How much of a bitmap is read at once. */
const BITMAP_PIECE = 1 << 16;

/** Reads the stream that begins at `offset`. */
export function examineStream(source: Source, offset: number): StreamReport {
  return new Examination(source, offset).run();
}

class Examination {
  readonly #source: Source;
  readonly #offset: number;
  readonly #reader: StreamReader;
  readonly #parts: Part[] = [];
  readonly #devices: DeviceReport[] = [];
  readonly #blocks = new Map<string, BlockReport>();
  readonly #records: RamRecords = {};
  #machineType: string | undefined;
  #capabilities: readonly string[] = [];
  #uuid: string | undefined;
  #ramBegan = 0;
  /** What the stream says of its sections, once somebody has asked: null if it says nothing. */
  #description: VmDescription | null | undefined;
  /** Of sections that are not read by molt's own declarations: how they are. */
  readonly #readBy = new Map<StateDescription<unknown>, DeviceReport["readBy"]>();

  constructor(source: Source, offset: number) {
    this.#source = source;
    this.#offset = offset;
    this.#reader = new StreamReader({
      devices: (...section) => this.#declarations(...section),
      trace: true,
      offset,
    });
  }

  #declarations(
    idstr: string,
    instanceId: number,
    sectionId: number,
  ): readonly StateDescription<unknown>[] {
    const own = knownSection(idstr) ?? [];
    this.#description ??= VmDescription.find(this.#source) ?? null;
    const section = this.#description?.section(idstr, instanceId);
    if (section !== undefined) {
      const described: StateDescription<unknown> = describedState(section);
      this.#readBy.set(described, "description");
      return [...own, described];
    }
    if (own.length > 0) return own;
    const unknown: StateDescription<unknown> = unknownState(idstr, sectionId);
    this.#readBy.set(unknown, "bytes");
    return [unknown];
  }

  run(): StreamReport {
    const problem = this.#readAll();
    return {
      kind: "stream",
      file: this.#source.name,
      size: this.#source.size,
      offset: this.#offset,
      problem,
      machineType: this.#machineType,
      capabilities: this.#capabilities,
      uuid: this.#uuid,
      parts: this.#parts,
      devices: this.#devices,
      blocks: [...this.#blocks.values()],
      records: this.#records,
      trailing: problem === undefined ? this.#source.size - this.#reader.offset : 0,
    };
  }

  /** Reads items to the end. What is wrong with the file ends it, and is returned. */
  #readAll(): Problem | undefined {
    try {
      for (;;) {
        const item = this.#reader.next();
        if (item === undefined) this.#fill();
        else if (item.kind === "end") return undefined;
        else this.#take(item);
      }
    } catch (error) {
      if (!(error instanceof VmStateError)) throw error;
      return { message: error.message, offset: error.offset };
    }
  }

  #fill(): void {
    const reader = this.#reader;
    const count = this.#source.read(reader.space(), reader.wantedOffset);
    if (count === 0) reader.end();
    else reader.filled(count);
  }

  #take(item: StreamItem): void {
    switch (item.kind) {
      case "configuration": {
        const { machineType, capabilities, uuid } = item.configuration;
        this.#machineType = machineType;
        this.#capabilities = capabilities;
        this.#uuid = uuid && formatUuid(uuid);
        this.#part(this.#offset, "header", "", this.#offset + HEADER_SIZE);
        this.#part(item.offset, "configuration", machineType);
        break;
      }
      case "command":
        this.#part(item.offset, "command", commandText(item.command));
        break;
      case "device": {
        const { section, offset, size, fields = [], description } = item;
        const { idstr: name, instanceId, version } = section;
        const readBy = this.#readBy.get(description) ?? "declaration";
        this.#part(offset, "FULL", name, offset + size, section);
        this.#devices.push({ name, instanceId, version, offset, size, fields, readBy });
        break;
      }
      case "ram begins":
        this.#ramBegan = item.offset;
        break;
      case "ram":
        this.#takeRecord(item.record);
        break;
      case "ram ends":
        this.#part(
          this.#ramBegan,
          item.part.toUpperCase(),
          item.section.idstr,
          undefined,
          item.section,
        );
        break;
      case "end of stream":
        this.#part(item.offset, "end of stream", "");
        break;
      case "description":
        this.#part(item.offset, "description", "");
        break;
      case "end":
        break;
    }
  }

  /** Notes a part that ends at `end`, by default where the reader is. */
  #part(
    offset: number,
    kind: string,
    name: string,
    end = this.#reader.offset,
    section?: Part["section"],
  ): void {
    this.#parts.push({
      offset,
      size: end - offset,
      kind,
      name,
      ...(section === undefined ? {} : { section }),
    });
  }

  #takeRecord(record: RamRecord): void {
    if (record.kind !== "end of records") {
      this.#records[record.kind] = (this.#records[record.kind] ?? 0) + 1;
    }
    switch (record.kind) {
      case "blocks":
        for (const entry of record.blocks) this.#takeBlock(entry);
        break;
      case "page":
        // The content is the record's end.
        this.#pagesOf(record.block)
          .store(record.offset / PAGE_SIZE, this.#reader.offset - PAGE_SIZE);
        break;
      case "zero page":
        this.#pagesOf(record.block).zero(record.offset / PAGE_SIZE);
        break;
      case "xbzrle page": {
        const pages = this.#pagesOf(record.block);
        const content = new Uint8Array(PAGE_SIZE);
        pages.read(record.offset / PAGE_SIZE, content, this.#source.readFully);
        const encoded = this.#reader.bytes.subarray(record.data, record.data + record.size);
        applyXbzrle(content, encoded, this.#reader.offset - record.size);
        pages.compose(record.offset / PAGE_SIZE, content);
        break;
      }
    }
  }

  #takeBlock({ name, length, guestAddress, mapped }: RamBlockEntry): void {
    const pages = new BlockPages(length, mapped === undefined ? "absent" : "zero");
    this.#blocks.set(name, { name, length, guestAddress, mapped, pages });
    if (mapped !== undefined) readMapped(this.#source, name, pages, mapped);
  }

  #pagesOf({ name }: RamBlockEntry): BlockPages {
    const block = this.#blocks.get(name);
    if (block === undefined) {
      throw new VmStateError(`Can't find block ${name}`, this.#reader.offset);
    }
    return block.pages;
  }
}

/** Notes where the pages are whose bits are set; the others are zero. */
function readMapped(source: Source, name: string, pages: BlockPages, place: MappedRamPlace): void {
  const { bitmapOffset, bitmapSize, pagesOffset } = place;
  const piece = new Uint8Array(BITMAP_PIECE);
  for (let done = 0; done < bitmapSize; done += piece.length) {
    const bytes = piece.subarray(0, Math.min(piece.length, bitmapSize - done));
    if (bitmapOffset + done + bytes.length > source.size) {
      throw new VmStateError(`the bitmap of block '${name}' is not all in the file`, bitmapOffset);
    }
    source.readFully(bytes, bitmapOffset + done);
    bytes.forEach((byte, i) => {
      for (let rest = byte, bit = 0; rest !== 0; rest >>= 1, bit++) {
        const page = (done + i) * 8 + bit;
        if ((rest & 1) === 0 || page >= pages.pages) continue;
        const offset = pagesOffset + page * PAGE_SIZE;
        if (offset + PAGE_SIZE > source.size) {
          throw new VmStateError(`page ${page} of block '${name}' is not in the file`, offset);
        }
        pages.store(page, offset);
      }
    });
  }
}

function commandText(command: Extract<StreamItem, { kind: "command" }>["command"]): string {
  const { name } = command;
  switch (command.name) {
    case "PING":
      return `${name} ${command.value}`;
    case "PACKAGED":
      return `${name} ${command.length} bytes`;
    case "POSTCOPY_RAM_DISCARD":
      return `${name} ${command.block}, ${command.ranges.length} ranges`;
    case "RECV_BITMAP":
      return `${name} ${command.block}`;
    default:
      return name;
  }
}
