/** Faults of parts that nobody waits for. */
import { tell } from "./messages.ts";

/**
 * While a guest runs, work that fails in the background (a command table whose file is gone, say) is told
 * and costs no more than itself; by default the runtime would end the process, and the guest with it.
 */
export function outliveFaults(): Disposable {
  const heed = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    const { reason } = event;
    tellFault(reason);
  };
  const heedError = (event: ErrorEvent) => {
    event.preventDefault();
    tellFault(event.error);
  };
  globalThis.addEventListener("unhandledrejection", heed);
  globalThis.addEventListener("error", heedError);
  return {
    [Symbol.dispose]: () => {
      globalThis.removeEventListener("unhandledrejection", heed);
      globalThis.removeEventListener("error", heedError);
    },
  };
}

function tellFault(reason: unknown): void {
  tell(`internal fault: ${reason instanceof Error ? reason.message : String(reason)}`);
}

/** Does `action`; what goes wrong is told. */
export function tellFaults(action: () => unknown): void {
  try {
    action();
  } catch (error) {
    tell(error instanceof Error ? error.message : String(error));
  }
}
