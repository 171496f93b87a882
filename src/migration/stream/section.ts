/**
 * A section: its header, the state of its device, its footer; and errors that name it.
 */
import {
  OutOfDataError,
  type StateDescription,
  type StateReader,
  type StateWriter,
  VmStateError,
} from "../../vmstate/vmstate.ts";
import { SectionType } from "./constants.ts";
import { StreamErrno, StreamError } from "./errors.ts";
import type { SectionHeader } from "./stream_items.ts";

/** Bytes of a section's footer. */
export const footerSize = 5;

/** Reads a section's header, without the byte before it. */
export function readSectionHeader(reader: StateReader): SectionHeader {
  return {
    sectionId: reader.u32(),
    idstr: reader.string8(),
    instanceId: reader.u32(),
    version: reader.u32(),
  };
}

/** Writes a section's header, without the byte before it. */
export function writeSectionHeader(writer: StateWriter, header: SectionHeader): void {
  writer.u32(header.sectionId);
  writer.string8(header.idstr);
  writer.u32(header.instanceId);
  writer.u32(header.version);
}

/** Decodes a device's state and the footer by the first description that fits. */
export function readDeviceState(
  reader: StateReader,
  section: SectionHeader,
  descriptions: readonly StateDescription<unknown>[],
  { trace, final }: { trace: boolean; final: boolean },
) {
  const start = reader.offset;
  let failure: unknown;
  for (const description of descriptions) {
    reader.offset = start;
    reader.trace = trace ? [] : undefined;
    try {
      const state = description.decode(reader, section.version);
      const fields = reader.trace;
      readFooter(reader, section);
      return { description, state, fields };
    } catch (error) {
      if (!(error instanceof VmStateError)) throw error;
      if (error instanceof OutOfDataError && !final) throw error;
      // The first description is the likeliest: its error says most.
      failure ??= inSection(error, section, final);
    } finally {
      reader.trace = undefined;
    }
  }
  throw failure;
}

/** Reads a section's footer. */
export function readFooter(reader: StateReader, section: SectionHeader): void {
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

/** Writes a section's footer. */
export function writeFooter(writer: StateWriter, sectionId: number): void {
  writer.u8(SectionType.footer);
  writer.u32(sectionId);
}

/** The section is of a newer version than the `own`. */
export function unsupportedVersion(
  section: SectionHeader,
  own: number,
  offset: number,
): StreamError {
  return new StreamError(
    `unsupported version ${section.version} for '${section.idstr}' v${own}`,
    offset,
  ).inSection(section.idstr, section.instanceId);
}

/** An error with its section; when no more bytes can come, running out of them is an error like others. */
export function inSection(
  error: VmStateError,
  section: SectionHeader,
  final: boolean,
): VmStateError {
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
