/** What a migration stream consists of. */
import type { FieldTrace, StateDescription } from "../../vmstate/vmstate.ts";
import type { Command } from "./commands.ts";
import type { StreamConfiguration } from "./configuration.ts";
import type { RamRecord } from "./ram_records.ts";

/** A section's header. */
export interface SectionHeader {
  /** Number that the writer chose for it. */
  readonly sectionId: number;
  readonly idstr: string;
  readonly instanceId: number;
  readonly version: number;
}

/** Which part of the `ram` section. */
export type RamPart = "start" | "part" | "end" | "full";

/** What a stream consists of. `offset` is where the item begins in the stream, `size` its bytes. */
export type StreamItem =
  | {
    readonly kind: "configuration";
    readonly offset: number;
    readonly size: number;
    readonly configuration: StreamConfiguration;
  }
  | {
    readonly kind: "command";
    readonly offset: number;
    readonly size: number;
    readonly command: Command;
  }
  /** A FULL section: the state of a device. */
  | {
    readonly kind: "device";
    readonly offset: number;
    readonly size: number;
    readonly section: SectionHeader;
    readonly bodyOffset: number;
    readonly bodySize: number;
    /** The description by which the state was decoded. */
    readonly description: StateDescription<unknown>;
    readonly state: unknown;
    /** Where each field lay, if the reader was asked for it. */
    readonly fields: readonly FieldTrace[] | undefined;
  }
  /** A part of the `ram` section begins; records follow. */
  | {
    readonly kind: "ram begins";
    readonly offset: number;
    readonly part: RamPart;
    readonly section: SectionHeader;
  }
  /** Records of pages come next (StreamReaderOptions.pagesInBulk). */
  | { readonly kind: "pages"; readonly offset: number }
  /** A record of the `ram` section. */
  | { readonly kind: "ram"; readonly offset: number; readonly record: RamRecord }
  | {
    readonly kind: "ram ends";
    readonly offset: number;
    readonly part: RamPart;
    readonly section: SectionHeader;
  }
  /** The byte that ends the stream. */
  | { readonly kind: "end of stream"; readonly offset: number }
  /** QEMU's JSON description of the sections. */
  | {
    readonly kind: "description";
    readonly offset: number;
    readonly size: number;
    readonly text: string;
  }
  /** Nothing more comes. */
  | { readonly kind: "end"; readonly offset: number };
