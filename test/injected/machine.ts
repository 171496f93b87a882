/** A molt in which system calls can be made to fail, looked at from outside. */
import { QmpClient } from "../../src/qmp_client/mod.ts";
import { PATIENCE, patience } from "../support/patience.ts";
import type { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";
import { Interposer } from "./interposer.ts";
import type { Life } from "./life.ts";
import { GuestLost, type Outcome, type Target } from "./scenario.ts";

/** Milliseconds that anything may take which must happen. */
const LIMIT = PATIENCE / 2;
/** Lines that a guest prints before it is taken to live. */
const LINES = 2;

/** A signal for what must happen. */
export function limit(): AbortSignal {
  return patience(LIMIT);
}

/** Waits for `work`; what does not end is lost. */
export async function within<T>(what: string, work: Promise<T>, signal = limit()): Promise<T> {
  const late = new Promise<never>((_, reject) =>
    signal.addEventListener("abort", () => reject(new GuestLost(`${what} does not come`)))
  );
  return await Promise.race([work, late]);
}

/**
 * Waits for `work`, which may fail: that is what failures are injected for. What does not end is lost.
 * Returns whether it succeeded.
 */
export async function settles(
  what: string,
  work: (signal: AbortSignal) => Promise<unknown>,
): Promise<boolean> {
  const signal = limit();
  try {
    await within(`the end of ${what}`, work(signal), signal);
    return true;
  } catch (error) {
    if (error instanceof GuestLost) throw error;
    return false;
  }
}

/** The process, and the file through which its calls are made to fail. */
export class InjectedMachine implements AsyncDisposable {
  readonly vm: VirtualMachine;
  readonly interposer: Interposer;

  private constructor(vm: VirtualMachine, interposer: Interposer) {
    this.vm = vm;
    this.interposer = interposer;
  }

  /** Starts it and waits for its monitor. */
  static async start(
    options: readonly string[],
    directory: TemporaryDirectory,
    name: string,
  ): Promise<InjectedMachine> {
    const interposer = new Interposer(directory.file(`${name}.injection`));
    const { env } = interposer;
    const vm = await VirtualMachine.start("molt", options, {
      directory,
      name,
      env,
      connect: false,
    });
    const machine = new InjectedMachine(vm, interposer);
    try {
      await machine.execute("query-status");
      return machine;
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The process that was started, or what it executed. */
  target(place = 0): Target {
    return { interposer: this.interposer, place };
  }

  /** Uses a connection of its own to the monitor. */
  async withMonitor<T>(
    work: (client: QmpClient, signal: AbortSignal) => Promise<T>,
    signal = limit(),
  ): Promise<T> {
    const ended = new AbortController();
    void this.vm.exited.then(() => {
      // The guest may be with another process of the machine, at the same socket.
      if (this.vm.processes.length > 0) return;
      ended.abort(new Error("the process has ended"));
    });
    const either = AbortSignal.any([signal, ended.signal]);
    await using client = await QmpClient.connect(this.vm.socket, { wait: true, signal: either });
    return await work(client, either);
  }

  /** Executes one command, on a connection of its own. */
  async execute(
    command: string,
    given: Record<string, unknown> = {},
    // deno-lint-ignore no-explicit-any
  ): Promise<any> {
    return await this.withMonitor((client, signal) =>
      client.executeUntyped(command, given, { signal })
    );
  }

  /** The run state. Throws a GuestLost if the process has ended or its monitor does not answer. */
  async runState(): Promise<string> {
    try {
      return (await this.execute("query-status")).status;
    } catch (cause) {
      const status = this.vm.alive ? "is there" : `ended with ${(await this.vm.exited).code}`;
      throw new GuestLost(`the monitor does not answer, its process ${status}`, { cause });
    }
  }

  /** What became of the guest that this process had. */
  async judge(life: Life): Promise<Outcome> {
    const state = await this.runState();
    switch (state) {
      case "running":
        await life.goOn(LINES, limit());
        return "running";
      case "internal-error":
        return "internal-error";
      case "io-error":
        await this.execute("cont");
        await life.goOn(LINES, limit());
        return "io-error, resumed";
      default:
        throw new GuestLost(`the guest's run state is '${state}'`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.interposer[Symbol.dispose]();
    await this.vm[Symbol.asyncDispose]();
  }
}
