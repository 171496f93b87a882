/** Binds the C library's functions that a start has not called, before something that has failed needs them. */
import { bind, unboundFunctions } from "./library.ts";

/** How many functions are bound before the event loop has a turn. */
const AT_ONCE = 4;

/** Binds what nobody has called so far. Throws if that cannot be done; a call, or the next time, tries again. */
export async function bindTheRest(): Promise<void> {
  for (const [index, name] of unboundFunctions().entries()) {
    bind(name);
    if (index % AT_ONCE === AT_ONCE - 1) await new Promise((resolve) => setTimeout(resolve));
  }
}
