/**
 * The description that a stream carries at its end (QEMU's vmdescription): of each section its fields and
 * subsections as they were written, with their sizes. By it a stream of any machine can be read.
 *
 *     description, u32 length, JSON text; the file's last bytes
 *
 * It is looked for from the file's end, since sections have to be read before it is come to.
 */
import * as z from "zod";
import { descriptionMaximum, SectionType } from "../migration/stream/constants.ts";
import type { Source } from "./source.ts";

/** A field as it was written. */
export interface DescribedField {
  readonly name: string;
  /** QEMU's name of the type. */
  readonly type: string;
  /** Bytes of it, or of each element. */
  readonly size: number;
  /** Elements of the same layout that it stands for. */
  readonly array_len?: number | undefined;
  /** Which element it is, of an array whose elements differ. */
  readonly index?: number | undefined;
  readonly struct?: DescribedStructure | undefined;
  /** Members, of a structure without a level of its own (`tmp`). */
  readonly fields?: readonly DescribedField[] | undefined;
}

/** A structure as it was written. */
export interface DescribedStructure {
  readonly vmsd_name: string;
  readonly version: number;
  readonly fields?: readonly DescribedField[] | undefined;
  /** Those that were written, in their order. */
  readonly subsections?: readonly DescribedStructure[] | undefined;
}

/** A section. Devices with QEMU's older way of saving have no version and one field. */
export interface DescribedSection {
  readonly name: string;
  readonly instance_id: number;
  readonly vmsd_name?: string | undefined;
  readonly fields?: readonly DescribedField[] | undefined;
  readonly subsections?: readonly DescribedStructure[] | undefined;
}

/** Structures in structures that are looked into. */
const DEEPEST = 64;
/** Texts that look like a description and are none: so many are tried. */
const ATTEMPTS = 16;

const count = z.number().int().nonnegative();
const field: z.ZodType<DescribedField> = z.lazy(() =>
  z.object({
    name: z.string(),
    type: z.string(),
    size: count,
    array_len: count.optional(),
    index: count.optional(),
    struct: structure.optional(),
    fields: z.array(field).optional(),
  })
);
const structure: z.ZodType<DescribedStructure> = z.lazy(() =>
  z.object({
    vmsd_name: z.string(),
    version: count,
    fields: z.array(field).optional(),
    subsections: z.array(structure).optional(),
  })
);
const description = z.object({
  devices: z.array(z.object({
    name: z.string(),
    instance_id: count,
    vmsd_name: z.string().optional(),
    fields: z.array(field).optional(),
    subsections: z.array(structure).optional(),
  })),
});

/** What a stream says of its sections. */
export class VmDescription {
  readonly #sections: readonly DescribedSection[];

  private constructor(sections: readonly DescribedSection[]) {
    this.#sections = sections;
  }

  /** The description in `text`; `undefined` if it is none. */
  static parse(text: string): VmDescription | undefined {
    if (nesting(text) > 2 * DEEPEST) return undefined;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      return undefined;
    }
    const parsed = description.safeParse(value);
    return parsed.success ? new VmDescription(parsed.data.devices) : undefined;
  }

  /** The description at the end of a stream; `undefined` if there is none, as with suppress-vmdesc=on. */
  static find(source: Source): VmDescription | undefined {
    const size = Math.min(source.size, descriptionMaximum + 5);
    const tail = new Uint8Array(size);
    source.readFully(tail, source.size - size);
    const view = new DataView(tail.buffer);
    let attempts = 0;
    for (let at = size - 5; at >= 0 && attempts < ATTEMPTS; at--) {
      if (tail[at] !== SectionType.description || tail[at + 5] !== 0x7b) continue;
      const end = at + 5 + view.getUint32(at + 1);
      if (end > size || tail[end - 1] !== 0x7d) continue;
      attempts++;
      const found = VmDescription.parse(
        new TextDecoder("latin1").decode(tail.subarray(at + 5, end)),
      );
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** What is said of a section. */
  section(idstr: string, instanceId: number): DescribedSection | undefined {
    return this.#sections.find(({ name, instance_id }) =>
      name === idstr && instance_id === instanceId
    );
  }
}

/** How deep brackets are in each other, in text that may be anything. */
function nesting(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x7b || code === 0x5b) deepest = Math.max(deepest, ++depth);
    else if (code === 0x7d || code === 0x5d) depth--;
  }
  return deepest;
}
