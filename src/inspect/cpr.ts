/** CPR state: the list of descriptors that a live update hands over. */
import {
  cprExecState,
  cprTransferState,
  decodeCprState,
} from "../migration/cpr/state_description.ts";
import { VmStateError } from "../vmstate/vmstate.ts";
import type { Source } from "./source.ts";
import type { CprReport, DescriptorReport } from "./report.ts";

/** More than any state has. */
const MAXIMUM = 16 * 1024 * 1024;

/** Reads the state at `offset`. A recording of cpr-transfer differs from a memfd of cpr-exec. */
export function examineCprState(source: Source, offset: number): CprReport {
  const bytes = new Uint8Array(Math.min(source.size - offset, MAXIMUM));
  source.readFully(bytes, offset);
  const common = { kind: "cpr" as const, file: source.name, size: source.size, offset };
  try {
    const { fds } = decodeCprState(cprExecState, bytes);
    return { ...common, mode: "cpr-exec", descriptors: placed(fds, 4), problem: undefined };
  } catch (execError) {
    try {
      const { fds } = decodeCprState(cprTransferState, bytes);
      const descriptors = placed(fds.map(({ name, id }) => ({ name, id, fd: undefined })), 1);
      return { ...common, mode: "cpr-transfer", descriptors, problem: undefined };
    } catch {
      // Neither fits. What is wrong with the form that files have says most.
      if (!(execError instanceof VmStateError)) throw execError;
      const problem = { message: execError.message, offset: execError.offset };
      return { ...common, mode: "cpr-exec", descriptors: [], problem };
    }
  }

  /** Entries with their offsets, a descriptor taking `size` bytes. */
  function placed(
    entries: readonly { name: string; id: number; fd: number | undefined }[],
    size: number,
  ): DescriptorReport[] {
    let at = offset + 8;
    return entries.map(({ name, id, fd }) => {
      const entry = { name, id, descriptor: fd, offset: at };
      at += 1 + 4 + name.length + 1 + 4 + size;
      return entry;
    });
  }
}
