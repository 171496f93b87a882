/** The character devices of an interim monitor: what the guest writes goes where it went before. */
import type { ChardevOptions } from "../configuration/chardev.ts";

/**
 * What stands in for a device while an interim monitor has the guest. `has` says which descriptors came; a
 * device without any is one to which nobody is connected.
 */
export function interimChardev(
  options: ChardevOptions,
  has: (name: string) => boolean,
): ChardevOptions {
  const { logfile: _, ...rest } = options;
  const standIn = {
    ...rest,
    mux: false,
    // It goes on with what was handed over.
    cpr: true,
    // A log goes on only where its descriptor came: opening it anew could empty it.
    ...(options.logfile !== undefined && has(`chardev/${options.id}/log`)
      ? { logfile: options.logfile }
      : {}),
  };
  if (has(`chardev/${options.id}/file`)) {
    return { ...standIn, backend: { kind: "file", path: options.id, append: true } };
  }
  if (has(`chardev/${options.id}/input`)) {
    return { ...standIn, backend: { kind: "fd", fd: -1 } };
  }
  return { ...standIn, backend: { kind: "null" } };
}

/** The device that takes the stand-in's place for good: its files hold what the guest has printed so far. */
export function goingOn(options: ChardevOptions): ChardevOptions {
  const { backend } = options;
  return {
    ...options,
    logappend: true,
    ...(backend.kind === "file" ? { backend: { ...backend, append: true } } : {}),
  };
}
