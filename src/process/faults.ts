/**
 * Faults: what fails where nobody waits for the outcome. The process has a guest, which is worth more than
 * any other part: a fault ends the part in which it happened, and never the process.
 *
 *   handlers of the event loop    -> what they were registered for (native/event_loop.ts)
 *   a client, a backend           -> its connection ends (backends/chardev.ts)
 *   a device, a vCPU, the clocks  -> the guest stops in `internal-error` (machine/machine.ts)
 *   whatever else                 -> it is reported, here
 */
import { faultText, reportFault, setFaultReporter } from "../native/faults.ts";
import { report } from "./messages.ts";

setFaultReporter(report);

/**
 * Has faults that reach the runtime reported; by default it would end the process, and the guest with it.
 */
export function outliveFaults(): Disposable {
  const rejected = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    reportFault(event.reason);
  };
  const thrown = (event: ErrorEvent) => {
    event.preventDefault();
    reportFault(event.error);
  };
  globalThis.addEventListener("unhandledrejection", rejected);
  globalThis.addEventListener("error", thrown);
  return {
    [Symbol.dispose]: () => {
      globalThis.removeEventListener("unhandledrejection", rejected);
      globalThis.removeEventListener("error", thrown);
    },
  };
}

/** Does `action`; what fails is reported. */
export function reportFaults(action: () => unknown): void {
  try {
    action();
  } catch (error) {
    report(faultText(error));
  }
}
