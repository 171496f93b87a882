/** How long tests wait for what must happen. */

/**
 * Milliseconds: enough for anything on a machine that is busy with other things. TEST_PATIENCE: for
 * slower machines.
 */
export const PATIENCE = Number(Deno.env.get("TEST_PATIENCE") ?? 60_000);

/** A signal for whatever must happen before a test gives up. */
export function patience(milliseconds: number = PATIENCE): AbortSignal {
  return AbortSignal.timeout(milliseconds);
}

/** Waits until `condition` holds. Fails, naming `what`, if it never does. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  signal: AbortSignal = patience(),
): Promise<void> {
  while (!await condition()) {
    if (signal.aborted) throw new Error(`waited in vain: ${what}`, { cause: signal.reason });
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
