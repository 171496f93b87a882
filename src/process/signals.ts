/** Signals that end the machine as a user wants it ended: after what is under way. */
import { requireDescriptors } from "../native/descriptor.ts";
import { notice } from "./messages.ts";

/** By their numbers on x86-64 (signal(7)). */
const numbers = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;
const endSignals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Descriptors that the runtime opens for its first listener. It ends the process with a back trace if
 * there are none left.
 */
const LISTENER_DESCRIPTORS = 4;

/**
 * Calls `end` for each signal that asks the process to end, until disposed. From then on such a signal does
 * nothing: the process is about to end with a status of its own, which the default action would take from it.
 */
export function onEndSignals(end: (signal: string) => void): Disposable {
  requireDescriptors(LISTENER_DESCRIPTORS, "Could not listen for signals");
  let disposed = false;
  for (const signal of endSignals) {
    Deno.addSignalListener(signal, () => {
      if (disposed) return;
      notice(`terminating on signal ${numbers[signal]}`);
      end(signal);
    });
  }
  return { [Symbol.dispose]: () => void (disposed = true) };
}
