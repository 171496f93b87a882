/** Which molt this is. */

/** Version of deno.json and CHANGELOG.md. */
export const version = "0.1.0";

/**
 * The build: what scripts/compile.sh recorded (the commit, with `+` for uncommitted changes) in a
 * compiled program, `source` when it runs from its sources.
 */
export function build(): string {
  if (!Deno.build.standalone) return "source";
  return Deno.readTextFileSync(`${import.meta.dirname}/build-id`).trim();
}
