/**
 * Faults that have nobody to be thrown to: of a handler of the event loop, of a thread that ended. The
 * program says where they are reported (process/faults.ts).
 */

/** What a fault says, in a line. */
export function faultText(fault: unknown): string {
  return fault instanceof Error ? fault.message : String(fault);
}

let reporter: (text: string) => void = (text) => console.error(text);

/** Has faults reported by `report` from now on. */
export function setFaultReporter(report: (text: string) => void): void {
  reporter = report;
}

/** Reports a fault that ends nothing else. `where` names the part, such as `monitor 'mon0'`. */
export function reportFault(fault: unknown, where?: string): void {
  const part = where === undefined ? "internal fault" : `${where}: internal fault`;
  reporter(`${part}: ${faultText(fault)}`);
}
