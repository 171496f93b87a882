/**
 * Garbage collection at a moment that suits the guest: before it is paused, so that none falls into the pause, and
 * when a start is over, so that what only the start needed is given back. The compiled program has it (scripts/
 * compile.sh compiles it with `--expose-gc`); run from sources the engine chooses alone.
 */

/** The engine's own function (V8, src/extensions/gc-extension.h). */
type Collector = (options?: { readonly type: "minor" | "major" }) => void;

/** Collects what is short-lived (`minor`, about a millisecond), or everything (`major`, some tens of them). */
export function collectGarbage(type: "minor" | "major"): void {
  const { gc } = globalThis as { gc?: Collector };
  gc?.({ type });
}
