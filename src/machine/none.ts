/** The board of `-machine none`: no CPU, no memory, no devices. It runs and stops all the same. */
import type { EventLoop } from "../native/event_loop.ts";
import { Bus } from "./bus.ts";
import { MachineClock } from "./clock.ts";
import { type EndPolicy, Machine } from "./machine.ts";
import type { MachineEvent } from "./machine_events.ts";

/** The empty board. */
export class NoBoard implements Disposable {
  readonly machine: Machine;
  readonly ports = new Bus("ones");
  readonly memory = new Bus("zeros");

  /** `testDriven`: a test turns the clock on (-accel qtest). */
  constructor(
    loop: EventLoop,
    testDriven: boolean,
    policy: EndPolicy,
    emit: (event: MachineEvent) => void,
  ) {
    this.machine = new Machine(
      {
        loop,
        vcpus: [],
        execute: false,
        buses: { ports: this.ports, memory: this.memory },
        clock: new MachineClock(
          loop,
          testDriven ? "test" : "host",
          (fault) => this.machine.fault("the clock", fault),
        ),
        timekeepers: [],
        listeners: [],
        resettables: [],
        powerButton: () => {},
        endOfInterrupt: () => {},
        requests: { stop: () => {}, underWay: () => [] },
        collectDirtyRings: () => {},
        runStateEntered: () => {},
      },
      policy,
      "prelaunch",
      emit,
    );
  }

  [Symbol.dispose](): void {
    this.machine.clock[Symbol.dispose]();
  }
}
