/**
 * The interim monitor: a second process of the same program that has the guest while the first one
 * executes its successor. A start takes the runtime a tenth of a second; the guest runs on meanwhile, and
 * is paused only for two handovers of a millisecond or so.
 *
 *   process P (old)                   interim monitor               process P (new)
 *   starts it, hands over
 *   descriptors (../transfer.ts)  ->  builds the machine
 *                                 <-  closes that connection
 *   stops the guest, stream       ->  runs the guest
 *   execve ......................................................>  builds the machine
 *                                                               <-  one byte: ready
 *                                     stops the guest, stream   ->  runs the guest
 *                                     leaves the events, ends
 *
 * Both streams are those of cpr-transfer, each with an ownership flag (../ownership.ts), so the guest is in
 * one process at each moment. If execve fails, the old P asks for the guest back in the same way. If the
 * new P ends without having asked, or does not ask in time and is ended, the interim monitor still has the
 * guest and goes on as its monitor. The events of the guest's time there are in a file for the successor's
 * clients before the stream ends.
 *
 * With a `uri`, and a command that may start anything, the guest does not run in the interim monitor before
 * a molt has answered: standby.ts.
 *
 *   monitor.ts         the interim monitor as the old P sees it
 *   duties.ts          its own side
 *   waiting_guest.ts   the guest that it has, as the new P sees it
 *   successor_program.ts   what is known of the successor before it is executed
 */
import type { StreamChannel } from "../../../channel/stream.ts";
import type { ExitStatus } from "../../../native/process.ts";

/**
 * What the file of a program that keeps to this protocol as a successor carries: handed a way back
 * (RETURN_NAME), it asks the interim monitor for the guest, and never loads it from where `-incoming` says
 * instead. A program without it is taken for one that may do so (successor_program.ts).
 */
export const SUCCESSOR_NOTE =
  "molt successor note 1: takes its guest from the interim monitor, e7c1b09d";
/** Environment: the numbers of the interim monitor's ends (descriptors, stream, way back) and error files. */
export const SOCKETS_VARIABLE = "MOLT_CARETAKER_SOCKETS";
/** Environment: the interim monitor's process id, for the successor that waits for its end. */
export const PROCESS_VARIABLE = "MOLT_CARETAKER_PROCESS";
/** Environment: how long the interim monitor waits for the successor, in ms. */
export const TIMEOUT_VARIABLE = "MOLT_SUCCESSOR_TIMEOUT";
/** The name of the way back among the descriptors handed on. */
export const RETURN_NAME = "molt.caretaker";
/** The name of the file with the events. */
export const EVENTS_NAME = "molt.caretaker.events";
/** The name of what the successor prints to until it has the guest. */
export const SUCCESSOR_ERRORS_NAME = "molt.successor.errors";
/** The name of the first process's standard error. */
export const STDERR_NAME = "molt.stderr";
/** The byte that asks for the guest. */
export const READY = 1;
/** The byte that says that a molt is here which will ask for a guest on standby (standby.ts). */
export const ANSWER = 2;
/** How long a process that is killed may take to end, and how often that is looked at, in ms. */
export const ENDING_TIME = 2000;
export const ENDING_INTERVAL = 20;

/** Says that this process is ready for the guest. */
export async function askForGuest(channel: StreamChannel): Promise<void> {
  await channel.write(Uint8Array.of(READY));
}

/** Waits a moment for the end of a process whose connections are closed: `status` says how it ended. */
export async function endOf(status: () => ExitStatus | undefined): Promise<ExitStatus | undefined> {
  const until = performance.now() + ENDING_TIME;
  for (;;) {
    const end = status();
    if (end !== undefined || performance.now() > until) return end;
    await new Promise((resolve) => setTimeout(resolve, ENDING_INTERVAL));
  }
}
