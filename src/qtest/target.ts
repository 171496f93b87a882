/** What a qtest client drives, and what each of its commands does there. */
import type { AddressSpace } from "../machine/address_space.ts";
import type { Bus } from "../machine/bus.ts";
import { encodeBytes, QtestError, type QtestRequest } from "./protocol.ts";

/** A virtual clock that the client turns on by hand (-accel qtest). */
export interface TestClock {
  now(): bigint;
  /** When the next timer expires; `undefined` if none is set. */
  nextExpiry(): bigint | undefined;
  /** Goes on to `time` and fires the timers on the way; a time that has passed changes nothing. */
  advance(time: bigint): void;
}

/** The machine, for a test. */
export interface QtestTarget {
  readonly memory: AddressSpace;
  readonly ports: Bus;
  /** Absent where the guest's clock runs by itself. */
  readonly clock?: TestClock;
}

/** Does what `request` asks for, and returns the answer. Throws a {@linkcode QtestError}. */
export function execute(request: QtestRequest, target: QtestTarget): string {
  const { memory, ports } = target;
  switch (request.kind) {
    case "endianness":
      return "OK little";
    case "in":
      return `OK 0x${hexadecimal(ports.read(request.port, request.size), 4)}`;
    case "out":
      ports.write(request.port, request.size, request.value);
      return "OK";
    case "read number": {
      const bytes = memory.read(request.address, request.size);
      return `OK 0x${encodeBytes(bytes.reverse(), "hexadecimal").slice(2).padStart(16, "0")}`;
    }
    case "read":
      return `OK ${encodeBytes(memory.read(request.address, request.length), request.encoding)}`;
    case "write":
      memory.write(request.address, request.bytes);
      return "OK";
    case "fill":
      memory.fill(request.address, request.length, request.value);
      return "OK";
    case "clock step":
      return stepClock(clockOf(target, "clock_step"), request.nanoseconds);
    case "clock set": {
      const clock = clockOf(target, "clock_set");
      clock.advance(request.nanoseconds);
      const now = clock.now();
      return `${now === request.nanoseconds ? "OK" : "FAIL"} ${now}`;
    }
    case "interrupt":
      // The interrupt controllers are the kernel's: there is nothing to listen to, or to pull.
      throw new QtestError("FAIL Unknown device");
    case "module load":
      // There are no modules to load.
      throw new QtestError("FAIL");
  }
}

function hexadecimal(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}

/** The clock, if it is the client's. QEMU does not know the commands otherwise. */
function clockOf({ clock }: QtestTarget, command: string): TestClock {
  if (clock === undefined) throw new QtestError(`FAIL Unknown command '${command}'`);
  return clock;
}

function stepClock(clock: TestClock, step: bigint | undefined): string {
  const before = clock.now();
  const goal = step === undefined ? clock.nextExpiry() : before + step;
  if (goal === undefined) {
    throw new QtestError(
      "FAIL cannot advance clock to the next deadline because there is no pending deadline",
    );
  }
  clock.advance(goal);
  const after = clock.now();
  return after > before ? `OK ${after}` : "FAIL could not advance time";
}
