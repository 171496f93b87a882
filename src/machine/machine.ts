/**
 * The running machine: vCPUs, clock and run state.
 *
 * Stopping has a fixed order. First the vCPUs park (answering what they still ask for, so devices
 * see a whole access or none), then the clocks stop, then devices that work on their own
 * pause. From then on nothing in the machine changes by itself: what is saved is one moment.
 * Starting goes the other way round.
 *
 * Requests that the host has not finished may be under way after a stop (requests_under_way.ts). What must not
 * happen before they have ended waits for them: a reset, an access that resets their device, the end.
 *
 * Whatever fails in the machine, an exit, a device, a clock, a start or a stop, has one exit: the guest is
 * stopped in `internal-error`, with a message that names what has failed, and does not run again before it
 * is reset. The process lives on, and its monitor.
 */
import { DeviceBusyError } from "../devices/device.ts";
import { contain, type EventLoop } from "../native/event_loop.ts";
import { faultText } from "../native/faults.ts";
import { report } from "../process/messages.ts";
import { VcpuState } from "../native/vcpu_thread.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { Resettable, RunStateListener } from "../devices/device.ts";
import { type Buses, describeExit, serveExit, type UnusualExit } from "./exits.ts";
import type { MachineClock } from "./clock.ts";
import type { MachineEvent, ShutdownReason } from "./machine_events.ts";
import { RequestsUnderWay, type SettleOptions } from "./requests_under_way.ts";
import { allowsTransition, isRunState, type RunState } from "./run_state.ts";

/** The parts that a board hands to its machine. */
export interface MachineParts {
  readonly loop: Pick<EventLoop, "onVcpus" | "serveVcpusUntil">;
  readonly vcpus: readonly Vcpu[];
  /** False if a test drives the board (-accel qtest): then the vCPUs stay parked. */
  readonly execute: boolean;
  readonly buses: Buses;
  readonly clock: MachineClock;
  /** What counts time: the guest sees it, and nobody else. */
  readonly timekeepers: readonly RunStateListener[];
  /** In the order in which they start; they pause in the opposite one. */
  readonly listeners: readonly RunStateListener[];
  /** In the order of reset. The last one puts the boot CPU at its first instruction. */
  readonly resettables: readonly Resettable[];
  /** Presses the power button. */
  readonly powerButton: () => void;
  /** Notifies a user-space I/O APIC that the guest ended an interrupt. */
  readonly endOfInterrupt: (vector: number) => void;
  /** The guest's requests that devices may go on with for a while after they were stopped. */
  readonly requests: {
    /** Devices take no requests any more, until they are reset or started. */
    readonly stop: () => void;
    /** What has requests under way although it was stopped, for messages. */
    readonly underWay: () => readonly string[];
  };
  /** Empties the dirty rings. */
  readonly collectDirtyRings: () => void;
  /** The machine is about to be in another run state. Throwing keeps it from `running`. */
  readonly runStateEntered: (state: RunState) => void;
}

/** What a machine does at its end. */
export interface EndPolicy {
  /** -no-reboot: a reset shuts down. */
  readonly noReboot: boolean;
  /** -no-shutdown: a shutdown stops the machine, and the process goes on. */
  readonly noShutdown: boolean;
}

/** A command that the machine's run state does not allow. */
export class RunStateError extends Error {
  override readonly name = "RunStateError";
}

/** The machine has failed while it was started or stopped; it is in `internal-error`. */
export class MachineFault extends Error {
  override readonly name = "MachineFault";
}

/** Run states in which a migration, or the end, decides what comes next. */
const decidedElsewhere: readonly RunState[] = [
  "inmigrate",
  "finish-migrate",
  "postmigrate",
  "shutdown",
];

/** What handlers asked for while an access was under way. */
interface Requests {
  error?: string;
  shutdown?: ShutdownReason;
  reset?: ShutdownReason;
  /** Changes of the guest's memory, in their order. */
  changes?: readonly (() => void)[];
}

const guestReasons: readonly ShutdownReason[] = ["guest-shutdown", "guest-reset", "guest-panic"];

/** The machine. */
export class Machine {
  readonly vcpus: readonly Vcpu[];
  readonly clock: MachineClock;
  readonly #parts: MachineParts;
  /** The vCPUs that run when the machine does. */
  readonly #executing: readonly Vcpu[];
  #policy: EndPolicy;
  readonly #emit: (event: MachineEvent) => void;
  readonly #ended = Promise.withResolvers<ShutdownReason>();
  #runState: RunState;
  /** Why the machine must be reset before it runs again. */
  #failure: string | undefined;
  #requests: Requests = {};
  readonly #underWay: RequestsUnderWay;
  /** vCPUs whose access waits for requests under way. */
  readonly #held = new Set<Vcpu>();
  /** A reset that waits for them; the vCPUs are parked. */
  #waitingReset: ShutdownReason | undefined;
  #hasEnded = false;
  #parking = false;

  constructor(
    parts: MachineParts,
    policy: EndPolicy,
    runState: "prelaunch" | "inmigrate",
    emit: (event: MachineEvent) => void,
  ) {
    this.#parts = parts;
    this.#policy = policy;
    this.#runState = runState;
    this.#emit = emit;
    this.vcpus = parts.vcpus;
    this.#executing = parts.execute ? parts.vcpus : [];
    this.clock = parts.clock;
    this.#underWay = new RequestsUnderWay(parts.requests.underWay);
    parts.loop.onVcpus((vcpus) => this.#serve(vcpus));
  }

  get runState(): RunState {
    return this.#runState;
  }

  get running(): boolean {
    return this.#runState === "running";
  }

  /** Resolves when the machine has shut down for good, with the reason. */
  get ended(): Promise<ShutdownReason> {
    return this.#ended.promise;
  }

  /** True once it has shut down for good. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Changes the run state of a stopped machine. Throws for a change that QEMU does not allow. */
  setRunState(state: RunState): void {
    if (state === this.#runState) return;
    if (!allowsTransition(this.#runState, state)) {
      throw new RunStateError(`The machine cannot go from '${this.#runState}' to '${state}'`);
    }
    this.#enter(state);
  }

  /**
   * Rolls back to the run state from before an attempt that changed it. If that cannot be, the guest is paused
   * (or has failed), and this throws. A machine that failed meanwhile stays so.
   */
  rollBackRunState(state: RunState): void {
    if (state === this.#runState || this.#runState === "internal-error") return;
    this.#orPaused(() => {
      if (state === "running") this.start();
      else this.#enter(state);
    });
  }

  /**
   * A guest that came from elsewhere goes on in the run state `name`, which was checked before. If that
   * cannot be, it is paused (or has failed), and this throws: nobody else has it any more.
   */
  goOn(name: string): void {
    this.#orPaused(() => {
      if (name === "running") this.start();
      else this.restoreRunState(name);
    });
  }

  /** Takes over the run state that a migration's source had. Throws for one that is not known. */
  restoreRunState(name: string): void {
    if (!isRunState(name)) throw new RunStateError(`Received an invalid run state '${name}'`);
    this.setRunState(name);
  }

  /** Runs a stopped machine. */
  start(): void {
    if (this.running) return;
    if (this.#runState === "shutdown" || this.#runState === "internal-error") {
      throw new RunStateError("Resetting the Virtual Machine is required");
    }
    if (this.#failure !== undefined) {
      throw new RunStateError(`${this.#failure}: Resetting the Virtual Machine is required`);
    }
    if (this.#waitingReset !== undefined) {
      const names = this.#parts.requests.underWay().join(", ");
      throw new RunStateError(`The machine is being reset: requests of ${names} are under way`);
    }
    this.setRunState("running");
    this.#emit({ name: "RESUME" });
    try {
      this.#startTime();
      for (const listener of this.#parts.listeners) listener.runStateChanged(true);
    } catch (fault) {
      throw this.#failed("the guest cannot run", fault);
    }
    this.#resumeVcpus();
    this.#serveHeld();
    this.#underWay.release();
  }

  /**
   * `part` of the machine, such as `the clock`, has failed: the guest is stopped in `internal-error` as soon
   * as no access is under way.
   */
  fault(part: string, fault: unknown): void {
    this.requestFailure(`${part}: ${faultText(fault)}`);
  }

  /**
   * A machine that waits for its state, with this one's clocks and nothing else: it is for a dry run
   * of what is to happen to this one. This one must not run.
   */
  warmUpCopy(emit: (event: MachineEvent) => void): Machine {
    const parts: MachineParts = {
      ...this.#parts,
      loop: { onVcpus: () => {}, serveVcpusUntil: () => {} },
      vcpus: [],
      requests: { stop: () => {}, underWay: () => [] },
      listeners: [],
      resettables: [],
      // Whatever it becomes, this machine's devices are not in use.
      runStateEntered: () => this.#parts.runStateEntered("inmigrate"),
    };
    return new Machine(parts, this.#policy, "inmigrate", emit);
  }

  /**
   * Stops a running machine; a stopped one only changes its state, where that is allowed. Returns what the
   * machine did until then: a guest may shut down while it is being stopped. Requests that the host has not
   * finished may still be under way: {@linkcode settled} waits for them.
   */
  stop(state: RunState = "paused"): RunState {
    const before = this.#halt(state);
    if (before === "running") this.#emit({ name: "STOP" });
    return before;
  }

  /**
   * Waits until a stopped machine has no requests under way, and a reset that waits for them is done: only
   * then nothing changes any more. Returns at once if that is so, and when the machine runs again. Throws a
   * RequestsUnderWayError after a while, if it is `limited`.
   */
  settled(options: SettleOptions): Promise<void> | undefined {
    return this.#underWay.settled ? undefined : this.#underWay.wait(options);
  }

  /** The last requests that were under way in a device have ended. */
  requestsEnded(): void {
    this.#serveHeld();
    if (!this.#underWay.settled) return;
    const reset = this.#waitingReset;
    this.#waitingReset = undefined;
    if (reset !== undefined) this.#request({ reset });
    this.#serveRequests();
    if (!this.#underWay.settled) return;
    // Images with requests under way were not left to others.
    if (!this.running) this.#reenter();
    this.#underWay.release();
  }

  #halt(state: RunState): RunState {
    if (this.running) this.#settle();
    const before = this.#runState;
    if (!this.running) {
      // Who only wants the guest stopped must not hide that it has failed.
      const hides = before === "internal-error" && state === "paused";
      if (allowsTransition(before, state) && !hides) this.#enter(state);
      return before;
    }
    // Each part is stopped, whatever happens to the others.
    let failure: { readonly fault: unknown } | undefined;
    const noteFault = (fault: unknown) => failure ??= { fault };
    this.#stopTime(noteFault);
    for (const listener of this.#parts.listeners.toReversed()) {
      contain(() => listener.runStateChanged(false), noteFault);
    }
    if (failure === undefined) contain(() => this.#enter(state), noteFault);
    if (failure === undefined) return before;
    this.#enterInternalError();
    this.#emit({ name: "STOP" });
    const text = `the guest could not be stopped as it should: ${faultText(failure.fault)}`;
    this.#failure = text;
    report(text);
    throw new MachineFault(text, { cause: failure.fault });
  }

  /** Does `action` while no vCPU runs. The guest notices nothing but the time it took. */
  whileParked<T>(action: () => T): T {
    if (this.running) this.#settle();
    try {
      return action();
    } finally {
      this.#serveRequests();
      if (this.running) this.#resumeVcpus();
    }
  }

  /** Resets the machine as soon as no access is under way. */
  requestReset(reason: ShutdownReason): void {
    this.#request({ reset: reason });
  }

  /** Shuts the machine down as soon as no access is under way. */
  requestShutdown(reason: ShutdownReason): void {
    this.#request({ shutdown: reason });
  }

  /** Stops the machine in `internal-error` as soon as no access is under way: `reason` says why. */
  requestFailure(reason: string): void {
    this.#request({ error: reason });
  }

  /**
   * Does `change` while no processor runs, before the one whose access is being served goes on: what the guest
   * sees of its memory is about to be different.
   */
  requestMemoryChange(change: () => void): void {
    if (!this.running || this.#parked) change();
    else this.#request({ changes: [...this.#requests.changes ?? [], change] });
  }

  /** Changes what happens when the guest ends. */
  changePolicy(change: Partial<EndPolicy>): void {
    this.#policy = { ...this.#policy, ...change };
  }

  /** Presses the power button: the guest decides. */
  powerDown(): void {
    this.#emit({ name: "POWERDOWN" });
    this.#parts.powerButton();
  }

  /** Puts every device into its power-on state. The machine must be stopped. */
  resetDevices(): void {
    for (const resettable of this.#parts.resettables) resettable.reset();
    this.#failure = undefined;
  }

  #enter(state: RunState): void {
    if (state === this.#runState) return;
    this.#parts.runStateEntered(state);
    this.#runState = state;
  }

  /** What the state means for the host's side, once more. */
  #reenter(): void {
    contain(() => this.#parts.runStateEntered(this.#runState), (fault) => report(faultText(fault)));
  }

  #enterInternalError(): void {
    this.#enterRegardless("internal-error");
  }

  /** As {@linkcode #enter}, whatever else goes wrong. The machine is stopped. */
  #enterRegardless(state: RunState): void {
    if (this.#runState === state) return;
    this.#runState = state;
    this.#reenter();
  }

  /** Does `action`. A machine that it leaves in a migration's hands, by throwing, is paused. */
  #orPaused(action: () => void): void {
    try {
      action();
    } catch (fault) {
      if (decidedElsewhere.includes(this.#runState)) {
        this.#enterRegardless(this.#failure === undefined ? "paused" : "internal-error");
      }
      throw fault;
    }
  }

  #request(request: Requests): void {
    const changes = request.changes === undefined ? {} : { changes: request.changes };
    this.#requests = { ...request, ...this.#requests, ...changes };
    if (!this.#parking) queueMicrotask(() => this.#serveRequests());
  }

  /**
   * Parks the vCPUs and does what they asked for meanwhile: a guest that has asked for a reset does
   * nothing more by itself, and must not be saved, or wait for somebody else's exit, before it got it.
   */
  #settle(): void {
    do {
      this.#park();
      this.#serveRequests();
    } while (this.running && !this.#parked);
  }

  get #parked(): boolean {
    return this.#executing.every((vcpu) =>
      vcpu.thread.state === VcpuState.parked || this.#held.has(vcpu)
    );
  }

  #resumeVcpus(): void {
    if (this.#waitingReset !== undefined) return;
    for (const vcpu of this.#executing) {
      if (!this.#held.has(vcpu)) vcpu.thread.resume();
    }
  }

  /** Serves the accesses that wait for requests; those that have to wait on stay. */
  #serveHeld(): void {
    if (this.#held.size === 0) return;
    const bits = [...this.#held].reduce((bits, { index }) => bits | 1 << index, 0);
    this.#held.clear();
    this.#serve(bits >>> 0);
    if (!this.running) this.#park();
  }

  #startTime(): void {
    this.#parts.clock.start();
    for (const timekeeper of this.#parts.timekeepers) timekeeper.runStateChanged(true);
  }

  #stopTime(failed: (fault: unknown) => void): void {
    contain(() => this.#parts.clock.stop(), failed);
    for (const timekeeper of this.#parts.timekeepers.toReversed()) {
      contain(() => timekeeper.runStateChanged(false), failed);
    }
  }

  #park(): void {
    this.#parking = true;
    try {
      for (const vcpu of this.#executing) vcpu.thread.kick();
      this.#parts.loop.serveVcpusUntil(() => this.#parked);
    } finally {
      this.#parking = false;
    }
  }

  #serve(vcpus: number): void {
    for (let index = 0, bits = vcpus; bits !== 0; index++, bits >>>= 1) {
      const vcpu = this.vcpus[index];
      if ((bits & 1) === 0 || vcpu === undefined) continue;
      if (vcpu.thread.state === VcpuState.parked) {
        // It was kicked for a stop from which the machine runs again, while its access waited.
        if (this.running && !this.#parking && this.#waitingReset === undefined) {
          vcpu.thread.resume();
        }
        continue;
      }
      if (vcpu.thread.state !== VcpuState.exited || this.#held.has(vcpu)) continue;
      try {
        const unusual = serveExit(vcpu, this.#parts.buses);
        if (unusual !== undefined) this.#serveUnusual(vcpu, unusual);
        if (this.#requests.changes !== undefined) vcpu.thread.kick();
      } catch (fault) {
        if (fault instanceof DeviceBusyError) {
          this.#held.add(vcpu);
          continue;
        }
        this.#requests.error ??= `vCPU ${vcpu.index}: ${describeExit(vcpu)}: ${faultText(fault)}`;
        vcpu.thread.kick();
      }
      // A vCPU parks from inside KVM_RUN, which completes the access, whatever became of that.
      vcpu.thread.resume();
    }
    if (!this.#parking) this.#serveRequests();
  }

  #serveUnusual(vcpu: Vcpu, exit: UnusualExit): void {
    switch (exit.kind) {
      case "shutdown":
        // Its event says no more than that of a reset which the guest has asked for.
        report(`vCPU ${vcpu.index}: triple fault`);
        this.#requests.reset ??= "guest-reset";
        break;
      case "error":
        this.#requests.error ??= `vCPU ${vcpu.index}: ${exit.reason}`;
        break;
      case "dirty ring full":
        this.#parts.collectDirtyRings();
        return;
      case "end of interrupt":
        this.#parts.endOfInterrupt(exit.vector);
        return;
    }
    // The vCPU must not run on until the machine has acted.
    vcpu.thread.kick();
  }

  #serveRequests(): void {
    const { error, shutdown, reset, changes } = this.#requests;
    this.#requests = {};
    if (changes !== undefined) this.#changeMemory(changes);
    if (error !== undefined) this.#fail(error);
    if (shutdown !== undefined) this.#shutDown(shutdown);
    else if (error === undefined && reset !== undefined) {
      contain(() => this.#reset(reset), (fault) => this.#fail(`reset: ${faultText(fault)}`));
    }
  }

  #changeMemory(changes: readonly (() => void)[]): void {
    if (this.running) this.#park();
    contain(
      () => changes.forEach((change) => change()),
      (fault) => this.#fail(`the guest's memory cannot change: ${faultText(fault)}`),
    );
    if (this.running) this.#resumeVcpus();
  }

  /** What has gone wrong keeps the guest from running on; it stays for people to look at. */
  #fail(reason: string): void {
    report(reason);
    this.#failure = reason;
    // A machine that is stopped keeps its state, and must not run either. What else goes wrong in a stop has
    // been reported, and the machine is stopped all the same.
    if (this.running) contain(() => this.stop("internal-error"), () => {});
  }

  /** The same for who waits for the outcome: the error to throw. */
  #failed(attempt: string, fault: unknown): MachineFault {
    const text = `${attempt}: ${faultText(fault)}`;
    this.#fail(text);
    return new MachineFault(text, { cause: fault });
  }

  #shutDown(reason: ShutdownReason): void {
    this.#emit({ name: "SHUTDOWN", data: { guest: guestReasons.includes(reason), reason } });
    if (this.#policy.noShutdown && reason !== "host-qmp-quit" && reason !== "host-signal") {
      contain(() => this.stop("shutdown"), () => {});
      return;
    }
    // Clients have been notified of the end, which is more than a stop.
    if (this.running) contain(() => this.#halt("shutdown"), () => {});
    this.#hasEnded = true;
    // What a guest has written is not lost because its host is slow.
    const settled = this.settled({ limited: false });
    if (settled === undefined) this.#ended.resolve(reason);
    else void settled.finally(() => this.#ended.resolve(reason));
  }

  #reset(reason: ShutdownReason): void {
    if (this.#policy.noReboot && reason !== "snapshot-load") {
      this.#shutDown(reason);
      return;
    }
    const wasRunning = this.running;
    if (wasRunning) this.#park();
    this.#parts.requests.stop();
    if (!this.#underWay.settled) {
      this.#waitingReset = reason;
      return;
    }
    this.#emit({ name: "RESET", data: { guest: guestReasons.includes(reason), reason } });
    try {
      this.resetDevices();
    } catch (fault) {
      this.#fail(`the guest cannot start again: ${faultText(fault)}`);
      return;
    }
    if (wasRunning) this.#resumeVcpus();
    else if (this.#runState !== "inmigrate") this.setRunState("prelaunch");
  }
}
