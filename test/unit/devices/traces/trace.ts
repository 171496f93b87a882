/**
 * Traces: what a driver did to a device and what it saw, as text, one step a line.
 *
 *     in OFFSET SIZE = VALUE        out OFFSET SIZE VALUE        (hexadecimal)
 *     pin N 0|1                     an input of an interrupt controller
 *     receive BYTES                 input of a character device
 *     step NS                       time passes
 *     irq 0|1                       the interrupt's level from here on
 *     output BYTES                  all output of the character device, at the end
 *
 * A line `reset` separates scripts, each on a device after power-on.
 */
import type { AccessSize } from "../../../../src/devices/device.ts";

export type Step =
  | { kind: "in"; offset: number; size: AccessSize; value: number }
  | { kind: "out"; offset: number; size: AccessSize; value: number }
  | { kind: "pin"; pin: number; level: boolean }
  | { kind: "receive"; bytes: Uint8Array<ArrayBuffer> }
  | { kind: "step"; nanoseconds: bigint }
  | { kind: "irq"; level: boolean }
  | { kind: "output"; bytes: Uint8Array<ArrayBuffer> };

/** A script and what came of it. */
export type Trace = Step[];

export function formatTraces(traces: readonly Trace[]): string {
  return traces.map((trace) => trace.map((step) => `${formatStep(step)}\n`).join("")).join(
    "reset\n",
  );
}

export function parseTraces(text: string): Trace[] {
  return text.split(/^reset\n/m).map((part) =>
    part.split("\n").filter((line) => line !== "").map(parseStep)
  );
}

export function formatStep(step: Step): string {
  switch (step.kind) {
    case "in":
      return `in ${step.offset.toString(16)} ${step.size} = ${step.value.toString(16)}`;
    case "out":
      return `out ${step.offset.toString(16)} ${step.size} ${step.value.toString(16)}`;
    case "pin":
      return `pin ${step.pin} ${step.level ? 1 : 0}`;
    case "step":
      return `step ${step.nanoseconds}`;
    case "irq":
      return `irq ${step.level ? 1 : 0}`;
    default:
      return `${step.kind} ${toHex(step.bytes)}`;
  }
}

function parseStep(line: string): Step {
  const words = line.split(" ");
  const word = (index: number) => words[index] ?? "";
  const access = (value: string) => ({
    offset: parseInt(word(1), 16),
    size: Number(word(2)) as AccessSize,
    value: parseInt(value, 16),
  });
  switch (word(0)) {
    case "in":
      return { kind: "in", ...access(word(4)) };
    case "out":
      return { kind: "out", ...access(word(3)) };
    case "pin":
      return { kind: "pin", pin: Number(word(1)), level: word(2) === "1" };
    case "step":
      return { kind: "step", nanoseconds: BigInt(word(1)) };
    case "irq":
      return { kind: "irq", level: word(1) === "1" };
    case "receive":
    case "output":
      return { kind: word(0) as "receive" | "output", bytes: fromHex(word(1)) };
    default:
      throw new SyntaxError(`not a step: ${line}`);
  }
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function fromHex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));
}
