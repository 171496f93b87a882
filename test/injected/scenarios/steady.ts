/** One machine whose guest stays where it is: idle, or busy in one of the ways that need the host. */
import { EchoPeer } from "../../support/echo_peer.ts";
import { ConsoleClient } from "../../support/console_client.ts";
import { heartbeatMachine } from "../../support/heartbeat_machine.ts";
import { TemporaryDirectory } from "../../support/temporary_directory.ts";
import { FIRST_GSI, GuestLog, virtioMachine } from "../../support/virtio_machine.ts";
import { Life } from "../life.ts";
import { InjectedMachine, limit, settles } from "../machine.ts";
import type { Outcome, Scenario, Subject, Target } from "../scenario.ts";

const DISK_SIZE = 32 << 20;
const irq = `events=1 indirect=1 irq=1 gsi=${FIRST_GSI}`;

/** What a steady machine is made of. */
interface SteadyParts {
  readonly options: readonly string[];
  /** Where the guest's output goes. */
  readonly output: string;
  /** What the machine depends on, closed after it. */
  readonly dependencies?: AsyncDisposable;
  exercise(subject: SteadySubject): Promise<unknown>;
}

/** The machine, and what it is made to do. */
export class SteadySubject implements Subject {
  readonly directory: TemporaryDirectory;
  readonly machine: InjectedMachine;
  readonly life: Life;
  readonly #parts: SteadyParts;

  private constructor(
    directory: TemporaryDirectory,
    machine: InjectedMachine,
    life: Life,
    parts: SteadyParts,
  ) {
    this.directory = directory;
    this.machine = machine;
    this.life = life;
    this.#parts = parts;
  }

  static async start(
    build: (directory: TemporaryDirectory) => SteadyParts,
  ): Promise<SteadySubject> {
    await using undo = new AsyncDisposableStack();
    const directory = undo.use(new TemporaryDirectory());
    const parts = build(directory);
    if (parts.dependencies) undo.use(parts.dependencies);
    const life = undo.use(new Life(parts.output));
    const machine = undo.use(await InjectedMachine.start(parts.options, directory, "molt"));
    await life.goOn(1, limit());
    undo.move();
    return new SteadySubject(directory, machine, life, parts);
  }

  prepare(): Promise<void> {
    return Promise.resolve();
  }

  target(): Target {
    return this.machine.target();
  }

  async exercise(): Promise<void> {
    await this.#parts.exercise(this);
  }

  async judge(): Promise<Outcome> {
    return await this.machine.judge(this.life);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine[Symbol.asyncDispose]();
    await this.#parts.dependencies?.[Symbol.asyncDispose]();
    this.life[Symbol.dispose]();
    this.directory[Symbol.dispose]();
  }
}

/** As long as the guest prints a line or two, or none any more. */
async function watch({ life }: SteadySubject): Promise<void> {
  await life.goOn(2, AbortSignal.timeout(2000)).catch(() => {});
}

const idle: Scenario = {
  name: "idle",
  processes: ["molt"],
  start: () =>
    SteadySubject.start((directory) => {
      const output = directory.file("serial");
      const log = new GuestLog(output);
      return {
        options: heartbeatMachine(log, { append: "memory=16 rate=20 period=20" }),
        output,
        exercise: watch,
      };
    }),
};

/** Clients of a console and of the monitor come, are served, and disconnect. */
const consoleClient: Scenario = {
  name: "console client",
  processes: ["molt"],
  start: () =>
    SteadySubject.start((directory) => {
      const [path, output] = [directory.file("console"), directory.file("serial")];
      const chardev = `socket,id=serial0,path=${path},server=on,wait=off,logfile=${output}`;
      const serial = { options: ["-chardev", chardev, "-serial", "chardev:serial0"] };
      const pty = `pty,id=pty0,path=${directory.file("pty")}`;
      return {
        options: [
          ...heartbeatMachine(serial, { append: "memory=16 rate=20 period=20" }),
          ...["-chardev", pty, "-mon", "chardev=pty0,mode=readline"],
        ],
        output,
        exercise: async ({ machine }) => {
          await settles("the console's client", async (signal) => {
            await using client = await ConsoleClient.connect(path);
            client.type();
            await Promise.race([client.follow(1), aborted(signal, 3000)]);
          });
          await settles("the terminal's client", async () => {
            using terminal = await Deno.open(directory.file("pty"), { read: true, write: true });
            await terminal.write(new TextEncoder().encode("info status\n"));
            await new Promise((resolve) => setTimeout(resolve, 20));
          });
          await settles("query-chardev", () => machine.execute("query-chardev"));
        },
      };
    }),
};

const diskLoad: Scenario = {
  name: "disk load",
  processes: ["molt"],
  start: () =>
    SteadySubject.start((directory) => {
      const log = new GuestLog(directory.file("serial"));
      const image = directory.file("disk.img");
      Deno.writeFileSync(image, new Uint8Array(0));
      Deno.truncateSync(image, DISK_SIZE);
      return {
        options: virtioMachine(log, {
          guest: "virtio_blk",
          append: `verify=1 depth=8 size=16384 span=16 ${irq}`,
          devices: [
            ...["-drive", `if=none,id=d0,file=${image},format=raw,werror=stop,rerror=stop`],
            ...["-device", "virtio-blk-device,drive=d0,id=disk0"],
          ],
        }),
        output: log.path,
        exercise: async (subject) => {
          await watch(subject);
          await settles("query-blockstats", () => subject.machine.execute("query-blockstats"));
        },
      };
    }),
};

/** The guest's peer disconnects, and waits until it is connected to again. */
const networkLoad: Scenario = {
  name: "network load",
  processes: ["molt"],
  start: () =>
    SteadySubject.start((directory) => {
      const log = new GuestLog(directory.file("serial"));
      const peer = new EchoPeer(directory.file("echo"));
      return {
        options: virtioMachine(log, {
          guest: "virtio_net",
          append: `verify=1 depth=4 size=1024 patience=200 ${irq}`,
          devices: [
            ...["-netdev", `${peer.netdev},reconnect-ms=100`],
            ...["-device", "virtio-net-device,netdev=n0,id=net0"],
          ],
        }),
        output: log.path,
        dependencies: peer,
        exercise: async (subject) => {
          await watch(subject);
          peer.disconnect();
          await watch(subject);
        },
      };
    }),
};

/** The state goes to a file, and the guest goes on. */
function snapshot(name: string, capabilities: readonly string[]): Scenario {
  return {
    name,
    processes: ["molt"],
    start: () =>
      SteadySubject.start((directory) => {
        const log = new GuestLog(directory.file("serial"));
        const states = capabilities.map((capability) => ({ capability, state: true }));
        return {
          options: heartbeatMachine(log, { append: "memory=16 rate=20 period=20" }),
          output: log.path,
          exercise: async ({ machine }) => {
            await settles("a snapshot", (signal) =>
              machine.withMonitor(async (client) => {
                await client.executeUntyped("migrate-set-capabilities", { capabilities: states });
                await client.executeUntyped("migrate", { uri: `file:${directory.file("state")}` });
              }, signal));
            // Only what is under way is waited for.
            await settles("a snapshot", (signal) => migrationEnds(machine, signal));
            await settles("cont after a snapshot", () => machine.execute("cont"));
          },
        };
      }),
  };
}

/** Waits until no migration of `machine` is under way. */
export async function migrationEnds(machine: InjectedMachine, signal: AbortSignal): Promise<void> {
  const ended = [undefined, "none", "completed", "failed", "cancelled"];
  for (;;) {
    signal.throwIfAborted();
    const { status } = await machine.withMonitor(
      (client) => client.executeUntyped("query-migrate") as Promise<{ status?: string }>,
      signal,
    );
    if (ended.includes(status)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function aborted(signal: AbortSignal, milliseconds: number): Promise<never> {
  const either = AbortSignal.any([signal, AbortSignal.timeout(milliseconds)]);
  return await new Promise((_, reject) =>
    either.addEventListener("abort", () => reject(either.reason))
  );
}

export const steadyScenarios: readonly Scenario[] = [
  idle,
  consoleClient,
  diskLoad,
  networkLoad,
  snapshot("snapshot", ["mapped-ram", "multifd"]),
  snapshot("snapshot as a stream", []),
];
