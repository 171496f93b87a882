/** Replays a trace on a device model. */
import { assertEquals } from "@std/assert";
import type { RegisterRegion } from "../../../../src/devices/device.ts";
import type { ManualClock, MemoryBackend, RecordedLine } from "../dependencies.ts";
import { formatStep, type Step, type Trace } from "./trace.ts";

/** A device model with what it depends on. */
export interface Specimen {
  readonly registers: RegisterRegion;
  readonly clock?: ManualClock;
  readonly irq?: RecordedLine;
  readonly backend?: MemoryBackend;
  setPin?(pin: number, level: boolean): void;
}

/**
 * Does the steps and asserts that the device shows what the trace says. `between` is called before
 * each step and may hand back another specimen, with which it goes on.
 */
export function replay(
  trace: Trace,
  specimen: Specimen,
  between: (specimen: Specimen, index: number) => Specimen = (same) => same,
): void {
  let current = specimen;
  trace.forEach((step, index) => {
    current = between(current, index);
    const seen = apply(current, step);
    if (seen !== undefined) {
      const before = trace.slice(Math.max(0, index - 8), index + 1).map(formatStep).join("\n");
      assertEquals(seen, expected(step), `step ${index}, after\n${before}`);
    }
  });
}

/** Does the step. Returns what is to be compared, if anything is. */
export function apply(specimen: Specimen, step: Step): unknown {
  switch (step.kind) {
    case "in":
      return specimen.registers.read(step.offset, step.size);
    case "out":
      specimen.registers.write(step.offset, step.size, step.value);
      return undefined;
    case "pin":
      specimen.setPin?.(step.pin, step.level);
      return undefined;
    case "receive":
      specimen.backend?.input(...step.bytes);
      return undefined;
    case "step":
      specimen.clock?.step(step.nanoseconds);
      return undefined;
    case "irq":
      return specimen.irq?.level;
    case "output":
      return Uint8Array.from(specimen.backend?.output ?? []);
  }
}

function expected(step: Step): unknown {
  switch (step.kind) {
    case "in":
      return step.value;
    case "irq":
      return step.level;
    case "output":
      return step.bytes;
    default:
      return undefined;
  }
}
