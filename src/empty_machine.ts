/**
 * `-machine none`: a process with monitors and character devices, and no guest. Programs start it to
 * ask what molt can do.
 */
import { DescriptorStore } from "./backends/descriptor_store.ts";
import { Chardevs } from "./backends/chardevs.ts";
import type { VirtualMachineConfig } from "./configuration/virtual_machine.ts";
import { openAccelerator } from "./guest/accelerator.ts";
import { inspectNothing } from "./monitored/board.ts";
import { updateControl } from "./monitored/context.ts";
import { AddressSpace } from "./machine/address_space.ts";
import type { ShutdownReason } from "./machine/machine_events.ts";
import { NoBoard } from "./machine/none.ts";
import { NoMigration } from "./migration/none.ts";
import type { MonitorContext } from "./monitor/context.ts";
import { EventHub } from "./monitor/events.ts";
import { Monitors } from "./monitor/monitors.ts";
import type { EventLoop } from "./native/event_loop.ts";
import { processId } from "./native/process.ts";
import { announce, report } from "./process/messages.ts";
import { serveQtest } from "./qtest/server.ts";
import { build, packageName, version } from "./version.ts";

/** A process without a guest. */
export class EmptyMachine implements Disposable {
  readonly monitors: Monitors;
  readonly #board: NoBoard;
  readonly #resources: DisposableStack;

  private constructor(board: NoBoard, monitors: Monitors, resources: DisposableStack) {
    this.#board = board;
    this.monitors = monitors;
    this.#resources = resources;
  }

  /** Nothing comes from elsewhere: what the configuration names has been opened. */
  readonly awaitsGuest = false;
  readonly opened: Promise<void> = Promise.resolve();

  /** Nothing is under way after {@linkcode create}. */
  started(): Promise<void> {
    return Promise.resolve();
  }

  /** Starts what the configuration says. */
  static async create(config: VirtualMachineConfig, loop: EventLoop): Promise<EmptyMachine> {
    using undo = new DisposableStack();
    const events = undo.use(new EventHub(loop));
    const descriptors = undo.use(new DescriptorStore());
    for (const { fd, set, opaque } of config.inheritedDescriptors) {
      descriptors.addInherited(fd, set, opaque);
    }
    const accelerator = checkAccelerator(config, descriptors);
    const policy = {
      noReboot: config.actions.reboot === "shutdown",
      noShutdown: config.actions.shutdown === "pause",
    };
    const testDriven = accelerator === "qtest";
    const board = undo.use(new NoBoard(loop, testDriven, policy, (event) => events.emit(event)));
    const { machine } = board;
    const environment = {
      loop,
      takesOver: () => false,
      adopt: () => undefined,
      takeNamedDescriptor: (name: string) => descriptors.takeNamed(name),
      openPath: descriptors.openPath,
      report,
      announce,
      quit: () => machine.requestShutdown("host-ui"),
      commitDisks: () => {},
    };
    const chardevs = undo.use(new Chardevs(environment));
    for (const options of config.chardevs) await chardevs.create(options);

    const context: MonitorContext = {
      machine: {
        status: () => ({ status: machine.runState, running: machine.running }),
        stop: () => {
          machine.stop();
        },
        cont: () => machine.start(),
        reset: () => machine.requestReset("host-qmp-system-reset"),
        powerDown: () => machine.powerDown(),
        injectNmi: () => {
          throw new Error("the machine has no CPU to interrupt");
        },
        wakeUp: () => {
          throw new Error("wake-up from suspend is not supported by this guest");
        },
        quit: () => machine.requestShutdown("host-qmp-quit"),
        setEndPolicy: (change) => machine.changePolicy(change),
      },
      identity: {
        name: config.name,
        uuid: config.uuid ?? "00000000-0000-0000-0000-000000000000",
        package: packageName(),
      },
      ...inspectNothing(accelerator),
      chardevs,
      descriptors,
      update: updateControl(
        () => ({ generation: 0, pid: processId(), version, build: build() }),
        () => [],
        () => Promise.reject(new Error("there is no guest")),
      ),
      migration: new NoMigration(),
    };
    const monitors = undo.use(new Monitors(context, events));
    for (const { chardev, mode, pretty } of config.monitors) {
      monitors.add(chardevs.port(chardev), { mode, pretty });
    }
    if (config.qtest !== undefined) {
      const { chardev, log } = config.qtest;
      undo.use(serveQtest(environment, chardevs.port(chardev), log, {
        memory: new AddressSpace(undefined, board.memory),
        ports: board.ports,
        ...(testDriven ? { clock: machine.clock } : {}),
      }));
    }
    chardevs.start();
    if (!config.startPaused) machine.start();
    return new EmptyMachine(board, monitors, undo.move());
  }

  /** Resolves with the reason when the machine has ended. */
  get ended(): Promise<ShutdownReason> {
    return this.#board.machine.ended;
  }

  /** Ends the machine. */
  end(reason: ShutdownReason): void {
    this.#board.machine.requestShutdown(reason);
  }

  [Symbol.dispose](): void {
    this.#resources[Symbol.dispose]();
  }
}

/** Which accelerator it would be. No guest runs, so only the ones that were named have to work. */
function checkAccelerator(
  { accelerators }: VirtualMachineConfig,
  { openPath }: DescriptorStore,
): "kvm" | "qtest" {
  if (accelerators.some(({ kind }) => kind === "qtest")) return "qtest";
  const { kvm } = openAccelerator(accelerators, openPath);
  kvm[Symbol.dispose]();
  return "kvm";
}
