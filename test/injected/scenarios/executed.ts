/** A guest whose process executes a successor, while a process of its own has the guest: cpr-exec. */
import { heartbeatMachine } from "../../support/heartbeat_machine.ts";
import { TemporaryDirectory } from "../../support/temporary_directory.ts";
import { GuestLog } from "../../support/virtio_machine.ts";
import { Life } from "../life.ts";
import { InjectedMachine, limit, settles } from "../machine.ts";
import { GuestLost, type Outcome, type Scenario, type Subject, type Target } from "../scenario.ts";

/** In the order in which they load the C library. */
const PROCESSES = ["old", "interim", "successor"] as const;

/** What `x-query-update` says. */
interface Update {
  readonly generation: number;
  readonly pid: number;
}

class ExecutedSubject implements Subject {
  readonly #directory = new TemporaryDirectory();
  readonly #log = new GuestLog(this.#directory.file("serial"));
  readonly #life = new Life(this.#log.path);
  #machine: InjectedMachine | undefined;
  /** The place of the process that has the guest, and of the next that is started. */
  #place = 0;
  #next = 1;
  #generation = 0;

  async prepare(): Promise<void> {
    if (this.#machine === undefined) {
      const options = heartbeatMachine(this.#log, {
        shared: "memfd",
        append: "memory=16 rate=20 period=20",
      });
      this.#machine = await InjectedMachine.start(options, this.#directory, "molt");
      await this.#life.goOn(1, limit());
    }
    const { generation, pid } = await this.#update();
    // One whose process has become another one is not started from here: the next subject is new.
    if (pid !== this.#vm.vm.pid) throw new Error("the guest is in another process");
    this.#generation = generation;
    this.#next = this.#vm.interposer.processes;
  }

  target(process: string): Target {
    const index = PROCESSES.findIndex((name) => name === process);
    return this.#vm.target(index === 0 ? this.#place : this.#next + index - 1);
  }

  async exercise(): Promise<void> {
    const { vm } = this.#vm;
    await settles("migrate", (signal) =>
      this.#vm.withMonitor(async (client) => {
        await client.executeUntyped("migrate-set-parameters", {
          "mode": "cpr-exec",
          "cpr-exec-command": [...vm.command],
        });
        await client.executeUntyped("migrate", {});
      }, signal));
    // The monitor may be another process's by now, or not be there for a while.
    const signal = limit();
    while (vm.processes.length > 0) {
      if (await this.#settled()) return;
      if (signal.aborted) throw new GuestLost("the update does not end");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new GuestLost(`all processes have ended: ${vm.errorText}`);
  }

  async judge(): Promise<Outcome> {
    const outcome = await this.#vm.judge(this.#life);
    const { pid } = await this.#update();
    const signal = limit();
    // Whoever had the guest in between ends.
    for (;;) {
      const others = this.#vm.vm.processes.filter((process) => process !== pid);
      if (others.length === 0) break;
      if (signal.aborted) throw new GuestLost(`processes ${others} stay beside ${pid}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    if (pid !== this.#vm.vm.pid) await this.#discard();
    else if (this.#vm.interposer.processes > this.#next + 1) this.#place = this.#next + 1;
    return outcome;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#discard();
    this.#life[Symbol.dispose]();
    this.#directory[Symbol.dispose]();
  }

  get #vm(): InjectedMachine {
    if (this.#machine === undefined) throw new Error("not prepared");
    return this.#machine;
  }

  async #discard(): Promise<void> {
    await this.#machine?.[Symbol.asyncDispose]();
    this.#machine = undefined;
  }

  async #update(): Promise<Update> {
    return await this.#vm.execute("x-query-update");
  }

  async #settled(): Promise<boolean> {
    try {
      const short = AbortSignal.any([limit(), AbortSignal.timeout(5000)]);
      return await this.#vm.withMonitor(async (client, signal) => {
        const ask = (command: string) => client.executeUntyped(command, {}, { signal });
        const { status } = await ask("query-status") as { status: string };
        const { generation } = await ask("x-query-update") as Update;
        const migration = await ask("query-migrate") as { status?: string };
        if (status === "internal-error") return true;
        if (status !== "running") return false;
        return generation > this.#generation || migration.status === "failed" ||
          migration.status === undefined;
      }, short);
    } catch {
      return false;
    }
  }
}

export const executed: Scenario = {
  name: "cpr-exec",
  processes: PROCESSES,
  start: () => Promise.resolve(new ExecutedSubject()),
};
