/** Parsing a whole stream, and writing again what was read. */
import { assertEquals } from "@std/assert";
import {
  type StreamItem,
  StreamReader,
  type StreamReaderOptions,
} from "../../src/migration/stream/stream_reader.ts";
import { knownSection } from "../../src/migration/stream/known_sections.ts";
import { StreamWriter } from "../../src/migration/stream/stream_writer.ts";

/** A reader for a stream that is in memory. */
export function readerOf(
  bytes: Uint8Array<ArrayBuffer>,
  options: Partial<StreamReaderOptions> = {},
): StreamReader {
  const offset = options.offset ?? 0;
  return new StreamReader({ devices: knownSection, ...options, bytes: bytes.subarray(offset) });
}

/** All items of a stream that is in memory. */
export function* itemsOf(reader: StreamReader): Generator<StreamItem> {
  for (;;) {
    const item = reader.next();
    if (item === undefined) throw new Error("a complete stream wants more bytes");
    yield item;
    if (item.kind === "end") return;
  }
}

/**
 * Writes what a reader gives. What is not written, the bitmaps and pages of mapped-ram, is zero. `size` is
 * how many bytes are expected.
 */
export function rewrite(
  reader: StreamReader,
  options: { offset?: number; size: number },
): Uint8Array<ArrayBuffer> {
  let out = new Uint8Array(options.size);
  const writer = new StreamWriter(options.offset);
  const flush = () => {
    const offset = writer.offset - writer.buffer.length;
    if (writer.offset > out.length) {
      const grown = new Uint8Array(writer.offset);
      grown.set(out);
      out = grown;
    }
    out.set(writer.take(), offset);
  };
  for (const item of itemsOf(reader)) {
    switch (item.kind) {
      case "configuration":
        writer.begin(item.configuration);
        break;
      case "command":
        writer.command(item.command);
        if (item.command.name === "POSTCOPY_RUN") writer.ram.forgetBlock();
        break;
      case "device":
        writer.device({
          ...item.section,
          description: item.description,
          state: item.state,
        });
        break;
      case "ram begins":
        if (item.part === "full") throw new Error("RAM in a FULL section");
        writer.beginRam(item.part, item.section.sectionId);
        break;
      case "ram": {
        const { record } = item;
        const ram = writer.ram;
        if (record.kind === "page") {
          const content = reader.bytes.subarray(record.data, record.data + 4096);
          ram.page(record.block.name, record.offset, content);
        } else if (record.kind === "zero page") {
          ram.zeroPage(record.block.name, record.offset);
        } else if (record.kind === "xbzrle page") {
          const encoded = reader.bytes.subarray(record.data, record.data + record.size);
          ram.xbzrlePage(record.block.name, record.offset, encoded);
        } else if (record.kind === "multifd flush") ram.multifdFlush();
        else if (record.kind === "blocks") {
          ram.beginBlocks(record.total);
          for (const block of record.blocks) {
            if (!reader.ramFormat.mappedRam) ram.block(block);
            else ram.mappedBlock(block, block.mapped);
            if (block.mapped === undefined) continue;
            flush();
            writer.seek(block.mapped.pagesOffset + block.length);
          }
        }
        break;
      }
      case "ram ends":
        writer.endRam(item.section.sectionId);
        break;
      case "end of stream":
        writer.finish(false);
        break;
      case "description":
        writer.buffer.u8(6);
        writer.buffer.u32(writer.description().length);
        writer.buffer.latin1(writer.description());
        break;
    }
    flush();
  }
  return out.slice(0, writer.offset);
}

/** A stream is the same when it is written again from what was read. */
export function checkRewritten(given: Uint8Array<ArrayBuffer>, offset = 0): void {
  const bytes = given.slice();
  const again = rewrite(readerOf(bytes, { offset }), { offset, size: bytes.length });
  for (const [from, to] of mappedAreas(bytes, offset)) bytes.fill(0, from, to);
  bytes.fill(0, 0, offset);
  assertSameBytes(again, bytes);
}

/** Bitmaps and pages of mapped-ram: where the stream itself has a hole. */
function mappedAreas(bytes: Uint8Array<ArrayBuffer>, offset: number): [number, number][] {
  const areas: [number, number][] = [];
  for (const item of itemsOf(readerOf(bytes, { offset }))) {
    if (item.kind !== "ram" || item.record.kind !== "blocks") continue;
    for (const { mapped, length } of item.record.blocks) {
      if (mapped !== undefined) areas.push([mapped.bitmapOffset, mapped.pagesOffset + length]);
    }
  }
  return areas;
}

/** Compares quickly, and says where the first difference is. */
function assertSameBytes(actual: Uint8Array, expected: Uint8Array): void {
  assertEquals(actual.length, expected.length);
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  if (at >= 0) {
    assertEquals(actual.slice(at, at + 64), expected.slice(at, at + 64), `at 0x${at.toString(16)}`);
  }
}
