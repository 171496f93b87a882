/** Tests that prove the same again in more ways: run with MOLT_THOROUGH=1, otherwise ignored. */

/** True if all of them are asked for. */
export const thorough = (Deno.env.get("MOLT_THOROUGH") ?? "") !== "";
