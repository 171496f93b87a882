/** Which molt this is. */

/** Version of deno.json and CHANGELOG.md. */
export const version = "0.1.0";
