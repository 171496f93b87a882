/** A part of the machine that fails stops the guest in `internal-error`; only a reset lets it run again. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { MachineClock } from "../../../src/machine/clock.ts";
import { Machine, MachineFault, RunStateError } from "../../../src/machine/machine.ts";
import type { MachineEvent } from "../../../src/machine/machine_events.ts";
import { Bus } from "../../../src/machine/bus.ts";
import { EventLoop } from "../../../src/native/event_loop.ts";
import type { RunState } from "../../../src/machine/run_state.ts";

/** A machine without vCPUs and with three devices, of which the one in the middle may fail. */
class FaultyMachine implements Disposable {
  readonly loop = new EventLoop();
  readonly events: string[] = [];
  /** What the devices were asked to do. */
  readonly log: string[] = [];
  failsToStart = false;
  failsToStop = false;
  refuses: RunState | undefined;
  readonly clock = new MachineClock(
    this.loop,
    "host",
    (fault) => this.machine.fault("a timer", fault),
  );
  readonly machine = new Machine(
    {
      loop: this.loop,
      vcpus: [],
      execute: true,
      buses: { ports: new Bus("ones"), memory: new Bus("zeros") },
      clock: this.clock,
      timekeepers: [],
      listeners: [0, 1, 2].map((index) => ({
        runStateChanged: (running: boolean) => {
          if (index === 1 && (running ? this.failsToStart : this.failsToStop)) {
            throw new Error("device 1 is broken");
          }
          this.log.push(`${running ? "start" : "stop"} ${index}`);
        },
      })),
      resettables: [],
      powerButton: () => {},
      endOfInterrupt: () => {},
      collectDirtyRings: () => {},
      requests: { stop: () => {}, underWay: () => [] },
      runStateEntered: (state) => {
        if (state === this.refuses) throw new Error("the image is in use");
      },
    },
    { noReboot: false, noShutdown: false },
    "prelaunch",
    ({ name }: MachineEvent) => this.events.push(name),
  );

  [Symbol.dispose](): void {
    this.clock[Symbol.dispose]();
    this.loop[Symbol.dispose]();
  }
}

/** Requests are served when nothing else is under way. */
function settled(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}

/** It has failed, and runs again only after a reset. */
async function assertFailed({ machine }: FaultyMachine): Promise<void> {
  assertEquals(machine.runState, "internal-error");
  assertThrows(() => machine.start(), RunStateError, "Resetting the Virtual Machine is required");
  machine.stop();
  assertEquals(machine.runState, "internal-error", "a stop does not hide it");
  machine.requestReset("host-qmp-system-reset");
  await settled();
  assertEquals(machine.runState, "prelaunch");
  machine.start();
  assert(machine.running);
  machine.stop();
}

Deno.test("a device that fails while the guest runs stops it", async () => {
  using faulty = new FaultyMachine();
  const { machine } = faulty;
  machine.start();
  machine.fault("virtio-blk-device", new Error("Could not read: Input/output error"));
  await settled();
  assertEquals(faulty.events, ["RESUME", "STOP"]);
  await assertFailed(faulty);
});

Deno.test("a device's timer that fails stops the guest", async () => {
  using faulty = new FaultyMachine();
  const { machine, clock, loop } = faulty;
  const running = loop.run();
  using timer = clock.timer(() => {
    throw new Error("no interrupt controller");
  });
  machine.start();
  timer.arm(clock.now());
  while (machine.running) await settled();
  loop.stop();
  await running;
  await assertFailed(faulty);
});

Deno.test("a machine that cannot be stopped as it should is stopped all the same, and whoever asked hears of it", async () => {
  using faulty = new FaultyMachine();
  const { machine, log } = faulty;
  machine.start();
  faulty.failsToStop = true;
  const { message } = assertThrows(() => machine.stop("finish-migrate"), MachineFault);
  assertStringIncludes(message, "device 1 is broken");
  assertEquals(log.slice(3), ["stop 2", "stop 0"], "the others are stopped");
  assertEquals(faulty.events, ["RESUME", "STOP"]);
  faulty.failsToStop = false;
  await assertFailed(faulty);
});

Deno.test("a machine whose state cannot be entered has failed, not half stopped", async () => {
  using faulty = new FaultyMachine();
  const { machine } = faulty;
  machine.start();
  faulty.refuses = "finish-migrate";
  assertThrows(() => machine.stop("finish-migrate"), MachineFault, "the image is in use");
  await assertFailed(faulty);
});

Deno.test("a machine that cannot start is stopped again", async () => {
  using faulty = new FaultyMachine();
  const { machine, log } = faulty;
  faulty.failsToStart = true;
  assertThrows(() => machine.start(), MachineFault, "the guest cannot run: device 1 is broken");
  assertEquals(log, ["start 0", "stop 2", "stop 1", "stop 0"]);
  faulty.failsToStart = false;
  await assertFailed(faulty);
});

Deno.test("a fault during a migration leaves the migration its machine, which does not run here again", async () => {
  using faulty = new FaultyMachine();
  const { machine } = faulty;
  machine.start();
  machine.stop("finish-migrate");
  machine.fault("virtio-net-device", new Error("broken"));
  await settled();
  assertEquals(machine.runState, "finish-migrate");
  assertThrows(() => machine.rollBackRunState("running"), RunStateError);
  await assertFailed(faulty);
});

Deno.test("a guest that cannot go on where it came back from a migration is paused, and starts when it can", () => {
  using faulty = new FaultyMachine();
  const { machine } = faulty;
  machine.start();
  machine.stop("finish-migrate");
  faulty.refuses = "running";
  assertThrows(() => machine.rollBackRunState("running"), Error, "the image is in use");
  assertEquals(machine.runState, "paused");
  faulty.refuses = undefined;
  machine.start();
  assert(machine.running);
});

Deno.test("a user who quits while the machine fails ends it", async () => {
  using faulty = new FaultyMachine();
  const { machine } = faulty;
  machine.start();
  machine.fault("virtio-net-device", new Error("broken"));
  machine.requestShutdown("host-qmp-quit");
  assertEquals(await machine.ended, "host-qmp-quit");
});
