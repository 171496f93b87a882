/**
 * Writing a migration stream into a buffer, which the caller sends on. The order is up to the caller:
 *
 *     begin, { command | device | beginRam ... endRam }, finish
 */
import { type StateDescription, StateWriter } from "../../vmstate/vmstate.ts";
import { type Command, writeCommand } from "./commands.ts";
import {
  describeConfiguration,
  type StreamConfiguration,
  writeConfiguration,
} from "./configuration.ts";
import { pageSize, ramSectionName, ramSectionVersion, SectionType } from "./constants.ts";
import { writeFileHeader } from "./file_header.ts";
import { RamRecordWriter } from "./ram_writer.ts";
import { writeFooter, writeSectionHeader } from "./section.ts";

/** A device and its state, ready to be written. */
export interface DeviceSection {
  readonly sectionId: number;
  readonly idstr: string;
  readonly instanceId: number;
  readonly description: StateDescription<unknown>;
  readonly state: unknown;
}

/** Writes one stream. */
export class StreamWriter {
  /** What was written and not yet taken. */
  readonly buffer: StateWriter;
  /** For the records between `beginRam` and `endRam`. */
  readonly ram: RamRecordWriter;
  #taken: number;
  #configuration: StreamConfiguration | undefined;
  /** What was written, each item for {@linkcode description}. */
  readonly #devices: DeviceSection[] = [];

  /** `offset`: where the stream begins in its file. */
  constructor(offset = 0, buffer: StateWriter = new StateWriter()) {
    this.buffer = buffer;
    this.ram = new RamRecordWriter(buffer);
    this.#taken = offset;
  }

  /** Stream offset of the next byte. */
  get offset(): number {
    return this.#taken + this.buffer.length;
  }

  /** The bytes written since the last call, and forgets them. They are valid until the next write. */
  take(): Uint8Array<ArrayBuffer> {
    const bytes = this.buffer.bytes;
    this.#taken += bytes.length;
    this.buffer.clear();
    return bytes;
  }

  /** Goes on at a later offset (mapped-ram). Everything written must have been taken. */
  seek(offset: number): void {
    if (this.buffer.length > 0 || offset < this.#taken) {
      throw new RangeError(`stream cannot go on at ${offset} from ${this.offset}`);
    }
    this.#taken = offset;
  }

  /** File header and configuration. */
  begin(configuration: StreamConfiguration): void {
    writeFileHeader(this.buffer);
    this.buffer.u8(SectionType.configuration);
    writeConfiguration(this.buffer, configuration);
    this.#configuration = configuration;
  }

  command(command: Command): void {
    this.buffer.u8(SectionType.command);
    writeCommand(this.buffer, command);
  }

  /** Begins a part of the `ram` section: `start` the first time, `part` or `end` later. */
  beginRam(part: "start" | "part" | "end", sectionId: number): void {
    this.buffer.u8(SectionType[part]);
    if (part !== "start") {
      this.buffer.u32(sectionId);
      return;
    }
    writeSectionHeader(this.buffer, {
      sectionId,
      idstr: ramSectionName,
      instanceId: 0,
      version: ramSectionVersion,
    });
  }

  /** Ends a part of the `ram` section. */
  endRam(sectionId: number): void {
    this.ram.end();
    writeFooter(this.buffer, sectionId);
  }

  /**
   * A FULL section. Throws VmStateError naming the field if the state cannot be encoded. The state must
   * stay as it is until the stream has been described: that is left for when nobody waits.
   */
  device(section: DeviceSection): void {
    const { sectionId, idstr, instanceId, description, state } = section;
    this.buffer.u8(SectionType.full);
    writeSectionHeader(this.buffer, { sectionId, idstr, instanceId, version: description.version });
    description.encode(this.buffer, state);
    writeFooter(this.buffer, sectionId);
    this.#devices.push(section);
  }

  /** End of the stream, and the description of what was written unless it is to be left out. */
  finish(withDescription = true): void {
    this.end();
    if (withDescription) this.describe();
  }

  /** End of the stream. The description may still follow. */
  end(): void {
    this.buffer.u8(SectionType.eof);
  }

  /** The description of what was written. */
  describe(): void {
    const text = this.description();
    this.buffer.u8(SectionType.description);
    this.buffer.u32(text.length);
    this.buffer.latin1(text);
  }

  /** QEMU's JSON description of what was written. */
  description(): string {
    const configuration = this.#configuration === undefined
      ? ""
      : `"configuration": {${describeConfiguration(this.#configuration)}}, `;
    const devices = this.#devices.map(({ idstr, instanceId, description, state }) =>
      `{"name": "${idstr}", "instance_id": ${instanceId}, ${description.describe(state)}}`
    );
    return `{${configuration}"page_size": ${pageSize}, "devices": [${devices.join(", ")}]}`;
  }
}
