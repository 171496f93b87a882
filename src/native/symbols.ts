/**
 * The C library's functions as Deno sees them: the one foreign-function table of the program. It follows
 * from the C prototypes in prototypes/; what a function does stands beside its definition in ffi/.
 */
import { nativeFunctions } from "./prototype.ts";
import { guestPrototypes } from "./prototypes/guest.ts";
import { hostPrototypes, waitPrototypes } from "./prototypes/host.ts";
import { threadPrototypes } from "./prototypes/threads.ts";

const waits = nativeFunctions(waitPrototypes);

/** Every symbol that is loaded. */
export const symbols = {
  ...nativeFunctions(hostPrototypes),
  ...nativeFunctions(guestPrototypes),
  molt_wait_idle: { ...waits.molt_wait_idle, nonblocking: true },
  molt_yield: { ...waits.molt_yield, nonblocking: true },
} as const satisfies Deno.ForeignLibraryInterface;

/** What threads of the C library call. */
export const threadFunctions = nativeFunctions(threadPrototypes);
