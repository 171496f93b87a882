/**
 * Code of live updates that no start waits for. It is loaded in the background once the guest runs: an
 * update may be what replaces the files that it comes from, and one that goes wrong finds no descriptor.
 */

type WarmUp = typeof import("./warm_up.ts");

let warmUp: Promise<WarmUp> | undefined;

/** The warm-up of saving and loading. If it could not be loaded, the next call tries again. */
export function loadWarmUp(): Promise<WarmUp> {
  return warmUp ??= import("./warm_up.ts").catch((cause) => {
    warmUp = undefined;
    throw cause;
  });
}
