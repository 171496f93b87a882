/** Which molt this is. */

/** Version of deno.json and CHANGELOG.md. */
export const version = "0.2.0";

/**
 * The build: what scripts/compile.sh recorded (the commit, with `+` for uncommitted changes) in a
 * compiled program, `source` when it runs from its sources.
 */
export function build(): string {
  return known ??= Deno.build.standalone
    ? Deno.readTextFileSync(`${import.meta.dirname}/build-id`).trim()
    : "source";
}

let known: string | undefined;

/** Version and build in one, as QMP's greeting and query-version have them: `molt 0.2.0 build 1f2e3d4`. */
export function packageName(): string {
  return `molt ${version} build ${build()}`;
}
