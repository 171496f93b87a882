/** What was found in a file: the data that every way of showing it shares. */
import type { FieldTrace } from "../vmstate/vmstate.ts";
import type { BlockPages } from "./block_pages.ts";

/** An item of the stream, in the order of the file. Offsets and sizes are bytes of the file. */
export interface Part {
  readonly offset: number;
  readonly size: number;
  /** `configuration`, `START`, `FULL`, `command`, ... */
  readonly kind: string;
  /** Name of the section or command. */
  readonly name: string;
  /** Section header, for sections. */
  readonly section?: {
    readonly sectionId: number;
    readonly instanceId: number;
    readonly version: number;
  };
}

/** A device's state. */
export interface DeviceReport {
  readonly name: string;
  readonly instanceId: number;
  readonly version: number;
  readonly offset: number;
  readonly size: number;
  readonly fields: readonly FieldTrace[];
  /** By what it was read: molt's declaration, what the stream says of it, or not at all. */
  readonly readBy: "declaration" | "description" | "bytes";
}

/** A RAM block. */
export interface BlockReport {
  readonly name: string;
  /** Bytes. */
  readonly length: number;
  readonly guestAddress: number | undefined;
  /** With mapped-ram: where bitmap and pages lie. */
  readonly mapped: { readonly bitmapOffset: number; readonly pagesOffset: number } | undefined;
  readonly pages: BlockPages;
  /** SHA-256 of the block's content, if it was asked for. */
  checksum?: string;
}

/** How many records of the `ram` section there were of each kind. */
export type RamRecords = Record<string, number>;

/** A descriptor in CPR state. */
export interface DescriptorReport {
  readonly name: string;
  readonly id: number;
  /** Its number (cpr-exec); beside the state in a message otherwise (cpr-transfer). */
  readonly descriptor: number | undefined;
  readonly offset: number;
}

/** What is wrong with a file, and where. */
export interface Problem {
  readonly message: string;
  readonly offset: number | undefined;
}

interface CommonReport {
  readonly file: string;
  /** Bytes of the file. */
  readonly size: number;
  /** Where the stream begins in it. */
  readonly offset: number;
  readonly problem: Problem | undefined;
}

/** A migration stream or a snapshot. */
export interface StreamReport extends CommonReport {
  readonly kind: "stream";
  readonly machineType: string | undefined;
  readonly capabilities: readonly string[];
  readonly uuid: string | undefined;
  readonly parts: readonly Part[];
  readonly devices: readonly DeviceReport[];
  readonly blocks: readonly BlockReport[];
  readonly records: RamRecords;
  /** Bytes behind the end of the stream. */
  readonly trailing: number;
}

/** CPR state: descriptors by name. */
export interface CprReport extends CommonReport {
  readonly kind: "cpr";
  /** How descriptors are given: by number or beside the message. */
  readonly mode: "cpr-exec" | "cpr-transfer";
  readonly descriptors: readonly DescriptorReport[];
}

export type Report = StreamReport | CprReport;

/** A report and the open file that its pages are read from. */
export interface OpenReport<R extends Report = Report> extends Disposable {
  readonly report: R;
  readFully(buffer: Uint8Array<ArrayBuffer>, offset: number): void;
}
