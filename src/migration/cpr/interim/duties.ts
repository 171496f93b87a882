/** The interim monitor's own side: what it was given, and how it waits for the successor (protocol.ts). */
import type { StreamChannel } from "../../../channel/stream.ts";
import { Descriptor, setCloseOnExec } from "../../../native/descriptor.ts";
import { writeAt } from "../../../native/file.ts";
import { getEnvironment, kill, parentId, unsetEnvironment } from "../../../native/process.ts";
import type { CapturedErrors } from "../../../process/captured_errors.ts";
import { MigrationError } from "../../errors.ts";
import type { InheritedDescriptors } from "../descriptors.ts";
import { Ownership, RETURN_OWNERSHIP_NAME } from "../ownership.ts";
import { STANDBY_FILE_NAME, STANDBY_OWNERSHIP_NAME, StandbyFile } from "./standby.ts";
import {
  ANSWER,
  ENDING_INTERVAL,
  ENDING_TIME,
  EVENTS_NAME,
  READY,
  SOCKETS_VARIABLE,
  SUCCESSOR_ERRORS_NAME,
  TIMEOUT_VARIABLE,
} from "./protocol.ts";

/** How long the successor may take if the process that started this one does not say so. */
const DEFAULT_TIMEOUT = 30_000;
/** How often it is looked whether the successor is late, in ms. */
const LATENESS_INTERVAL = 50;
const SIGKILL = 9;

/** The ends that an interim monitor was started with. */
export interface InterimMonitorSockets {
  /** Descriptors come here. */
  readonly cpr: Descriptor;
  /** The guest comes here. */
  readonly main: Descriptor;
  /** And leaves here. */
  readonly back: Descriptor;
  /** The process that has started this one, and executes the successor. */
  readonly successor: number;
  /** How long it may take until it asks for the guest, in ms. */
  readonly successorTimeout: number;
  /** Where this process's errors go until it is ready; absent if a molt without it has started this one. */
  readonly errors: CapturedErrors | undefined;
}

/** The ends that this process was started with, if it is an interim monitor. */
export function takeInterimMonitorSockets(): InterimMonitorSockets | undefined {
  const value = getEnvironment(SOCKETS_VARIABLE);
  if (value === undefined) return undefined;
  unsetEnvironment(SOCKETS_VARIABLE);
  const ends = value.split(",").map((number) => new Descriptor(Number(number)));
  const [cpr, main, back, stream, file] = ends;
  if (!cpr || !main || !back) throw new Error(`${SOCKETS_VARIABLE} is '${value}'`);
  for (const { fd } of ends) setCloseOnExec(fd, true);
  const timeout = Number(getEnvironment(TIMEOUT_VARIABLE) ?? DEFAULT_TIMEOUT);
  unsetEnvironment(TIMEOUT_VARIABLE);
  const successorTimeout = timeout > 0 ? timeout : DEFAULT_TIMEOUT;
  const errors = stream && file && { stream, file };
  return { cpr, main, back, successor: parentId(), successorTimeout, errors };
}

/**
 * What the interim monitor hears from the successor: that it will ask for a guest on standby, that it is ready
 * for the guest, its end, or nothing.
 */
export type SuccessorCall = "answered" | "ready" | "ended" | "silent";

/** Waits for the successor, until `over` says that it is late. The channel is of no use after `silent`. */
export async function awaitSuccessor(
  channel: StreamChannel,
  over: () => boolean,
): Promise<SuccessorCall> {
  const request = new Uint8Array(1);
  let silent = false;
  const timer = setInterval(() => {
    if (silent || !over()) return;
    silent = true;
    channel.cancel();
  }, LATENESS_INTERVAL);
  try {
    const count = await channel.read(request).catch(() => 0);
    if (count === 1 && request[0] === READY) return "ready";
    if (count === 1 && request[0] === ANSWER) return "answered";
    return silent ? "silent" : "ended";
  } finally {
    clearInterval(timer);
  }
}

/**
 * Ends a successor that will not get the guest any more: it would put itself in the place of this process's
 * sockets if it started in the end. `pid` is this process's parent, if it has not ended.
 */
export async function endSuccessor(pid: number): Promise<void> {
  if (parentId() !== pid) return;
  kill(pid, SIGKILL);
  await awaitEndOf(pid);
}

/** Waits a moment until a successor has ended: only then it has printed everything. `pid` is as above. */
export async function awaitEndOf(pid: number): Promise<void> {
  const until = performance.now() + ENDING_TIME;
  while (parentId() === pid && performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, ENDING_INTERVAL));
  }
}

/** What an interim monitor got beside the guest. */
export interface InterimMonitorDuties {
  /** The flag that decides when somebody asks for the guest. */
  readonly ownership: Ownership;
  /** Takes the events of the guest's time here. */
  readonly events: Descriptor;
  /** What the successor prints to; absent if a molt without it has started this process. */
  readonly successorErrors: Descriptor | undefined;
  /** The guest is on standby (standby.ts): its state is in this file. */
  readonly standby: StandbyFile | undefined;
}

/** Takes over what the process that started this interim monitor handed over for it. */
export function takeDuties(handedOver: InheritedDescriptors): InterimMonitorDuties {
  using undo = new DisposableStack();
  const ownership = handedOver.take(RETURN_OWNERSHIP_NAME);
  if (ownership === undefined) {
    throw new MigrationError("an interim monitor needs an ownership flag for the return");
  }
  const flag = undo.use(Ownership.adopt(ownership));
  const events = handedOver.take(EVENTS_NAME);
  if (events === undefined) throw new MigrationError("an interim monitor needs a file for events");
  undo.use(events);
  const file = handedOver.take(STANDBY_FILE_NAME);
  const claim = handedOver.take(STANDBY_OWNERSHIP_NAME);
  const standby = file && claim && new StandbyFile(file, claim);
  const successorErrors = handedOver.take(SUCCESSOR_ERRORS_NAME);
  undo.move();
  return { ownership: flag, events, successorErrors, standby };
}

/** Leaves `events` for the successor's clients. */
export function leaveEvents(file: Descriptor, events: readonly unknown[]): void {
  writeAt(file.fd, new Uint8Array(new TextEncoder().encode(JSON.stringify(events))), 0);
}
