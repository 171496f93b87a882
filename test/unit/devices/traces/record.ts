/**
 * Records the traces anew: runs random driver scripts on QEMU's devices through its qtest protocol
 * and writes down what they show.
 *
 *     deno run -A test/unit/devices/traces/record.ts QEMU
 *
 * The scripts only write what a data sheet allows (e.g. no month 15). The serial port's input is sent
 * when the model has room for it, because QEMU takes it at a time that a script cannot see.
 */
import { apply } from "./replay.ts";
import { create, type Place, places, RTC_START, type SpecimenName } from "./specimens.ts";
import { formatTraces, type Step, type Trace } from "./trace.ts";
import type { AccessSize } from "../../../../src/devices/device.ts";

const SCRIPTS = 6;
const STEPS = 250;
/** For QEMU to take the serial port's input. */
const INPUT_DELAY_MS = 50;

type Random = (below: number) => number;

/** QEMU with one serial connection, driven by qtest commands. */
class QemuTest implements AsyncDisposable {
  irqLevel = false;
  readonly output: number[] = [];
  #received = "";

  private constructor(
    readonly process: Deno.ChildProcess,
    readonly control: Deno.UnixConn,
    readonly serial: Deno.UnixConn,
    readonly place: Place,
  ) {
    void this.#collectOutput();
  }

  static async start(program: string, place: Place): Promise<QemuTest> {
    const directory = await Deno.makeTempDir();
    const control = Deno.listen({ transport: "unix", path: `${directory}/qtest` });
    const serial = Deno.listen({ transport: "unix", path: `${directory}/serial` });
    const base = new Date(RTC_START * 1000).toISOString().slice(0, 19);
    const process = new Deno.Command(program, {
      args: [
        ...["-accel", "qtest", "-M", "microvm", "-m", "8M", "-display", "none", "-nodefaults"],
        ...["-rtc", `base=${base},clock=vm`, "-qtest-log", "none"],
        ...["-qtest", `unix:${directory}/qtest`],
        ...["-chardev", `socket,id=s0,path=${directory}/serial`, "-serial", "chardev:s0"],
      ],
    }).spawn();
    const serialConnection = await serial.accept();
    const test = new QemuTest(process, await control.accept(), serialConnection, place);
    if (place.irq !== undefined) await test.command("irq_intercept_in /machine/ioapic");
    return test;
  }

  /** Sends a command and returns the answer; interrupts that are reported meanwhile are noted. */
  async command(line: string): Promise<string> {
    await this.control.write(new TextEncoder().encode(`${line}\n`));
    while (true) {
      for (let end; (end = this.#received.indexOf("\n")) >= 0;) {
        const answer = this.#received.slice(0, end);
        this.#received = this.#received.slice(end + 1);
        if (!answer.startsWith("IRQ ")) return answer;
        const [, what, number] = answer.split(" ");
        if (Number(number) === this.place.irq) this.irqLevel = what === "raise";
      }
      const buffer = new Uint8Array(4096);
      const count = await this.control.read(buffer);
      if (count === null) throw new Error("QEMU ended");
      this.#received += new TextDecoder().decode(buffer.subarray(0, count));
    }
  }

  /** Does the step. Returns what a read gave. */
  async apply(step: Step): Promise<number> {
    switch (step.kind) {
      case "in":
      case "out": {
        const address = `0x${(this.place.base + step.offset).toString(16)}`;
        const width = { 1: "b", 2: "w", 4: "l" }[step.size];
        const port = this.place.space === "port";
        if (step.kind === "in") {
          const answer = await this.command(`${port ? "in" : "read"}${width} ${address}`);
          return Number(answer.split(" ")[1]);
        }
        const value = `0x${step.value.toString(16)}`;
        await this.command(`${port ? "out" : "write"}${width} ${address} ${value}`);
        return 0;
      }
      case "pin": {
        const path = "/machine/unattached/device[3] unnamed-gpio-in";
        await this.command(`set_irq_in ${path} ${step.pin} ${step.level ? 1 : 0}`);
        return 0;
      }
      case "receive":
        await this.serial.write(step.bytes);
        await new Promise((resolve) => setTimeout(resolve, INPUT_DELAY_MS));
        return 0;
      case "step":
        await this.command(`clock_step ${step.nanoseconds}`);
        return 0;
      default:
        return 0;
    }
  }

  async #collectOutput(): Promise<void> {
    const buffer = new Uint8Array(4096);
    try {
      for (let count; (count = await this.serial.read(buffer)) !== null;) {
        this.output.push(...buffer.subarray(0, count));
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted)) {
        throw error;
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.control.close();
    this.serial.close();
    this.process.kill("SIGTERM");
    await this.process.status;
  }
}

const input = (offset: number, size: AccessSize = 1): Step => ({
  kind: "in",
  offset,
  size,
  value: 0,
});
const output = (offset: number, value: number, size: AccessSize = 1): Step => ({
  kind: "out",
  offset,
  size,
  value,
});
const wait = (nanoseconds: number): Step => ({ kind: "step", nanoseconds: BigInt(nanoseconds) });

/** The next steps of a script, given what the model has room for. */
const scripts: Record<SpecimenName, (random: Random, room: number) => Step[]> = {
  serial(random, room) {
    const choice = random(100);
    if (choice < 40) return [input(random(8))];
    if (choice < 80) {
      const register = [0, 0, 0, 1, 2, 2, 3, 4, 7][random(9)] ?? 0;
      // Mostly with the divisor latch closed, without loopback and with FIFOs.
      const mask = random(3) === 0 ? 0xff : register === 3 ? 0x7f : register === 4 ? 0x0f : 0xff;
      const bits = register === 2 && random(3) > 0 ? 1 : 0;
      return [output(register, (random(256) & mask) | bits)];
    }
    if (choice < 92 && room > 0) {
      const count = 1 + random(Math.min(room, 6));
      return [{ kind: "receive", bytes: Uint8Array.from({ length: count }, () => random(256)) }];
    }
    return [wait(random(6_000_000))];
  },
  rtc(random) {
    const select = (register: number, next: Step): Step[] => [output(0, register), next];
    const registers = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 11, 11, 12, 12, 13, 0x32, 0x37, 0x50];
    const register = registers[random(registers.length)] ?? 0;
    const choice = random(100);
    if (choice < 45) return select(register, input(1));
    if (choice < 75) return select(register, output(1, rtcValue(register, random)));
    return [wait(random(2) === 0 ? random(600_000_000) : random(5_000_000_000))];
  },
  ioapic(random) {
    const choice = random(100);
    const pin = 1 + random(4);
    const vector = 0x30 + random(4);
    const select = (register: number, next: Step): Step[] => [output(0, register, 4), next];
    if (choice < 30) return [{ kind: "pin", pin, level: random(2) === 1 }];
    if (choice < 45) {
      const entry = vector | random(2) << 15 | (random(4) === 0 ? 0x10000 : 0) | random(8) << 12;
      return select(0x10 + 2 * pin, output(0x10, entry >>> 0, 4));
    }
    if (choice < 50) return select(0x11 + 2 * pin, output(0x10, random(2 ** 32), 4));
    if (choice < 60) return [output(0x40, vector, 4)];
    if (choice < 90) return select(0x10 + 2 * pin, input(0x10, 4));
    return select(random(0x44), input(0x10, 4));
  },
};

/** Values in BCD with 24 hours only: register B never changes these. */
function rtcValue(register: number, random: Random): number {
  const bcd = (value: number) => Math.trunc(value / 10) << 4 | value % 10;
  const alarm = (below: number) => random(3) === 0 ? 0xc0 | random(64) : bcd(random(below));
  switch (register) {
    case 0:
    case 2:
      return bcd(random(60));
    case 1:
    case 3:
      return alarm(60);
    case 4:
      return bcd(random(24));
    case 5:
      return alarm(24);
    case 6:
      return 1 + random(7);
    case 7:
      return bcd(1 + random(28));
    case 8:
      return bcd(1 + random(12));
    case 9:
      return bcd(random(100));
    case 10:
      return (random(5) === 0 ? 0x60 : 0x20) | random(16);
    case 11:
      return random(256) & 0xf0 | 2;
    case 0x32:
    case 0x37:
      return bcd(19 + random(3));
    default:
      return random(256);
  }
}

/** A generator of reproducible numbers (mulberry32). */
function numbers(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor(((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32 * below);
  };
}

async function record(program: string, name: SpecimenName, seed: number): Promise<Trace> {
  await using qemu = await QemuTest.start(program, places[name]);
  const model = create(name);
  const random = numbers(seed);
  const trace: Trace = [];
  let level = false;
  const run = async (step: Step) => {
    const value = await qemu.apply(step);
    apply(model, step);
    trace.push(step.kind === "in" ? { ...step, value } : step);
    if (qemu.irqLevel !== level) {
      level = qemu.irqLevel;
      trace.push({ kind: "irq", level });
    }
  };
  while (trace.length < STEPS) {
    for (const step of scripts[name](random, room(model))) {
      await run(step);
      // Timers that were set to a time already past go off.
      if (places[name].space === "port" && step.kind === "out") await run(wait(1));
    }
  }
  if (name === "serial") {
    await new Promise((resolve) => setTimeout(resolve, INPUT_DELAY_MS));
    trace.push({ kind: "output", bytes: Uint8Array.from(qemu.output) });
  }
  return trace;
}

function room(model: ReturnType<typeof create>): number {
  return "canReceive" in model.device && typeof model.device.canReceive === "function"
    ? model.device.canReceive()
    : 0;
}

if (import.meta.main) {
  const [program] = Deno.args;
  if (program === undefined) throw new Error("usage: record.ts QEMU");
  for (const name of ["serial", "rtc", "ioapic"] as const) {
    const traces: Trace[] = [];
    for (let seed = 1; seed <= SCRIPTS; seed++) traces.push(await record(program, name, seed));
    await Deno.writeTextFile(new URL(`./${name}.txt`, import.meta.url), formatTraces(traces));
  }
}
