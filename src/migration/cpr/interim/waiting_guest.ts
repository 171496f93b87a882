/** The guest that waits with an interim monitor, as the successor sees it (protocol.ts). */
import { StreamChannel } from "../../../channel/stream.ts";
import type { Descriptor } from "../../../native/descriptor.ts";
import { Errno, SystemError } from "../../../native/errors.ts";
import { readAt, status } from "../../../native/file.ts";
import {
  awaitChild,
  childStatus,
  describeExit,
  getEnvironment,
  unsetEnvironment,
} from "../../../native/process.ts";
import { hasHungUp } from "../../../native/wait.ts";
import { type CapturedErrors, releaseErrors } from "../../../process/captured_errors.ts";
import { MigrationError } from "../../errors.ts";
import type { Ownership } from "../ownership.ts";
import {
  askForGuest,
  endOf,
  EVENTS_NAME,
  PROCESS_VARIABLE,
  RETURN_NAME,
  STDERR_NAME,
  SUCCESSOR_ERRORS_NAME,
} from "./protocol.ts";

/** Most bytes of events that a successor reads. */
const EVENTS_LIMIT = 16 << 20;

/** The guest waits with an interim monitor that the process before this one started. */
export class WaitingGuest implements Disposable {
  readonly channel: StreamChannel;
  readonly #events: Descriptor | undefined;
  readonly #errors: CapturedErrors | undefined;
  readonly #pid: number | undefined;
  readonly #standby: Ownership | undefined;

  /** `pid` is the interim monitor's; `standby` is the flag of a guest whose state is in a file (standby.ts). */
  constructor(
    connection: Descriptor,
    events: Descriptor | undefined,
    errors: CapturedErrors | undefined,
    pid: number | undefined,
    standby?: Ownership,
  ) {
    this.channel = new StreamChannel(connection, true);
    this.#events = events;
    this.#errors = errors;
    this.#pid = pid;
    this.#standby = standby;
  }

  /** It never ran with its interim monitor, and never will: its file has to be loaded. */
  keepToFile(): boolean {
    return this.#standby?.keep() ?? false;
  }

  /** Says that this process is ready for the guest, which then comes through the channel. */
  async call(): Promise<void> {
    await askForGuest(this.channel);
  }

  /** The guest is here: nobody else reads what this process prints any more. */
  arrived(): void {
    releaseErrors(this.#errors);
    // Nobody but this knows the process.
    if (this.#standby !== undefined && this.#pid !== undefined) {
      void reapInterimMonitor(this.#pid).catch(() => {});
    }
  }

  /**
   * The error to report where the guest did not come because of `error`: if the interim monitor has ended,
   * the guest has ended with it. If not, the guest stays there, and the error is this process's own.
   */
  async failure(error: unknown): Promise<unknown> {
    const pid = this.#pid;
    if (pid === undefined || !hasHungUp(this.channel.fd)) return error;
    const end = await endOf(() => childStatus(pid)).catch(() => undefined);
    if (end === undefined) return error;
    releaseErrors(this.#errors);
    return new MigrationError(
      `the guest is lost: the interim monitor that had it, process ${pid}, ${describeExit(end)}`,
      { cause: error },
    );
  }

  /** The events of the guest's time there, when it has come. */
  events(): unknown[] {
    if (this.#events === undefined) return [];
    const { size } = status(this.#events.fd);
    if (size === 0 || size > EVENTS_LIMIT) return [];
    const bytes = new Uint8Array(size);
    if (readAt(this.#events.fd, bytes, 0) !== size) return [];
    const events: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return Array.isArray(events) ? events : [];
  }

  /** Whether an event of this name is among them. */
  has(name: string): boolean {
    return this.events().some((event) =>
      typeof event === "object" && event !== null && "event" in event && event.event === name
    );
  }

  [Symbol.dispose](): void {
    this.channel[Symbol.dispose]();
    this.#standby?.[Symbol.dispose]();
    this.#events?.[Symbol.dispose]();
    this.#errors?.stream[Symbol.dispose]();
    this.#errors?.file[Symbol.dispose]();
  }
}

/** The guest that waits for this process, if an interim monitor, process `pid`, has it. */
export function takeWaitingGuest(
  adopt: (name: string) => Descriptor | undefined,
  pid: number | undefined,
): WaitingGuest | undefined {
  const connection = adopt(RETURN_NAME);
  const events = adopt(EVENTS_NAME);
  const stream = adopt(STDERR_NAME);
  const file = adopt(SUCCESSOR_ERRORS_NAME);
  const errors = stream && file && { stream, file };
  return connection && new WaitingGuest(connection, events, errors, pid);
}

/** The process id of the interim monitor that the process before this one started, if there is one. */
export function takeInterimMonitorPid(): number | undefined {
  const value = getEnvironment(PROCESS_VARIABLE);
  unsetEnvironment(PROCESS_VARIABLE);
  const pid = Number(value);
  return value !== undefined && Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
}

/** Waits for the end of the interim monitor `pid`, a child of this process's. */
export async function reapInterimMonitor(pid: number): Promise<void> {
  try {
    await awaitChild(pid);
  } catch (error) {
    // A successor that a script started as a child is no parent of it.
    if (!(error instanceof SystemError && error.errno === Errno.ECHILD)) throw error;
  }
}
