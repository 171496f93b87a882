/**
 * Code of live updates that no start waits for. It is loaded in the background once the guest runs: an
 * update may be what replaces the files that it comes from, and one that goes wrong finds no descriptor.
 */

type Rehearsal = typeof import("./rehearsal.ts");

let rehearsal: Promise<Rehearsal> | undefined;

/** The warm-up of saving and loading. If it could not be loaded, the next call tries again. */
export function loadRehearsal(): Promise<Rehearsal> {
  return rehearsal ??= import("./rehearsal.ts").catch((cause) => {
    rehearsal = undefined;
    throw cause;
  });
}
