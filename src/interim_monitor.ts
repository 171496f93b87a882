/**
 * The life of an interim monitor: it has the guest while the process that started it executes a successor,
 * and ends when the successor has the guest.
 *
 *   the guest comes -> waiting for the successor -> ready: the guest leaves -> this process ends
 *                                                -> it has ended, or was silent for too long and is ended,
 *                                                   or did not take the guest: this is its monitor
 *
 * On standby (migration/cpr/interim/standby.ts) the guest comes only when a molt has answered.
 *
 * Before it becomes the monitor it keeps the guest for good by the ownership flag, so that a successor
 * that wakes up late cannot have it.
 */
import { IncomingFile } from "./channel/file.ts";
import { StreamChannel } from "./channel/stream.ts";
import type { VirtualMachineConfig } from "./configuration/virtual_machine.ts";
import {
  awaitEndOf,
  awaitSuccessor,
  endSuccessor,
  type InterimMonitorSockets,
  leaveEvents,
  takeDuties,
} from "./migration/cpr/interim/duties.ts";
import type { Ownership } from "./migration/cpr/ownership.ts";
import type { StandbyFile } from "./migration/cpr/interim/standby.ts";
import { receiveHandover } from "./migration/cpr/transfer.ts";
import type { EventLoop } from "./native/event_loop.ts";
import { processId } from "./native/process.ts";
import { forwardErrors, printedTo, releaseErrors } from "./process/captured_errors.ts";
import { reportFaults } from "./process/faults.ts";
import { report } from "./process/messages.ts";
import { SuccessorWait } from "./successor_wait.ts";
import { VirtualMachine } from "./virtual_machine.ts";

/** How long the process that started this one may take to hand over its descriptors. */
const HANDOVER_MS = 30_000;

/** Takes care of a guest. Resolves with the machine if the guest stays here for good. */
export async function runInterimMonitor(
  config: VirtualMachineConfig,
  loop: EventLoop,
  sockets: InterimMonitorSockets,
): Promise<VirtualMachine | undefined> {
  using undo = new DisposableStack();
  // A guest that powers off meanwhile is the successor's to end.
  const actions = { ...config.actions, shutdown: "pause" } as const;
  const handover = undo.use(await receiveHandover(sockets.cpr, HANDOVER_MS));
  const duties = takeDuties(handover.descriptors);
  using ownership = duties.ownership;
  using eventsFile = duties.events;
  using successorErrors = duties.successorErrors;
  // What -S asked for has happened before.
  const duty = { ...config, actions, startPaused: false };
  const vm = undo.use(await VirtualMachine.standIn(duty, loop, handover));
  releaseErrors(sockets.errors);
  handover[Symbol.dispose]();
  const events = vm.events.record();
  using back = new StreamChannel(sockets.back, true);
  using standby = duties.standby;
  {
    using channel = new StreamChannel(sockets.main, true);
    if (standby === undefined) await vm.migration.receive(channel);
    else if (!await standBy(vm, back, standby, sockets.successorTimeout)) return undefined;
  }
  const handingOver = () => {
    reportFaults(() => leaveEvents(eventsFile, events));
    standby?.settle();
  };
  const failure = await serveSuccessor(vm, sockets, back, ownership, handingOver);
  if (failure === undefined) return undefined;
  const { cancelled } = failure;
  let printed = "";
  if (successorErrors !== undefined) {
    printed = printedTo(successorErrors.fd);
    forwardErrors(successorErrors.fd);
  }
  const reason =
    `${failure.text}${printed}: the guest goes on in process ${processId()}, with the ` +
    "program from before the update";
  report(reason);
  if (cancelled) vm.migration.updateCancelled();
  else vm.migration.updateFailed(reason);
  await vm.keepGuest();
  undo.move();
  return vm;
}

/**
 * Waits for a molt that answers, and has the guest run then; false if it is the file's for good
 * (migration/cpr/interim/standby.ts).
 */
async function standBy(
  vm: VirtualMachine,
  back: StreamChannel,
  standby: StandbyFile,
  milliseconds: number,
): Promise<boolean> {
  const until = performance.now() + milliseconds;
  const call = await awaitSuccessor(back, () => performance.now() >= until);
  if (call !== "answered") {
    standby.ownership.keep();
    // One that is silent may be a program that knows nothing of this and runs the guest.
    if (call === "ended") {
      report(
        "the successor ended without taking the guest over, whose state is in the file that " +
          "the update has written",
      );
    }
    return false;
  }
  try {
    using file = new IncomingFile(standby.duplicate());
    await vm.migration.receive(file, () => standby.take());
    return true;
  } catch (error) {
    // Whoever has answered loads the file then.
    standby.ownership.keep();
    throw error;
  }
}

/** Why a successor has not got the guest. */
interface UpdateFailure {
  readonly text: string;
  /** Somebody wanted it so. */
  readonly cancelled: boolean;
}

/**
 * Gives the guest to the successor; `handingOver` is called when all of it was sent, and before the connection
 * ends. Returns why the successor has not got it, and never will.
 */
async function serveSuccessor(
  vm: VirtualMachine,
  { successor, successorTimeout }: InterimMonitorSockets,
  channel: StreamChannel,
  ownership: Ownership,
  handingOver: () => void,
): Promise<UpdateFailure | undefined> {
  using wait = new SuccessorWait(vm, successorTimeout);
  for (;;) {
    const call = await awaitSuccessor(channel, () => wait.over);
    if (call === "ready") {
      if (await vm.migration.leave(channel, ownership, handingOver)) return undefined;
      continue;
    }
    // A script may start more than one molt that answers.
    if (call === "answered") continue;
    if (!ownership.keep()) return undefined;
    if (call === "ended") {
      await awaitEndOf(successor);
      return { text: "the successor ended without taking the guest over", cancelled: false };
    }
    const { cancelled, limit } = wait;
    await endSuccessor(successor);
    const why = cancelled
      ? "the update was cancelled, and the successor"
      : `the successor was not ready within ${limit} ms and`;
    return { text: `${why} has been ended`, cancelled };
  }
}
