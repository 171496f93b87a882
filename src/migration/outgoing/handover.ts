/**
 * The last phase of an outgoing migration whose destination can answer: it has the whole stream, and one
 * of the two sides gets the guest.
 *
 *   destination               decides                                 no answer, or a failure
 *   maps the ownership flag   the flag: OutgoingMigration asks it     the flag still decides
 *   a molt elsewhere          this side: SHUT 0 -> COMMIT ->          before COMMIT: the guest is here;
 *                             committed                               after it: unknown
 *   QEMU                      the destination: SHUT 0                 it said no, or closed the connection:
 *                                                                     the guest is here; else unknown
 *
 * Unknown is an OwnerUnknownError: the guest stays stopped here until an operator decides. All waits end
 * after the parameter x-handover-timeout, and soon after somebody cancels.
 */
import type { OutgoingChannel } from "../../channel/channel.ts";
import { isBrokenChannel } from "../../native/channel.ts";
import { isUnixSocket, send } from "../../native/socket.ts";
import type { Ownership } from "../cpr/ownership.ts";
import { OwnerUnknownError } from "../errors.ts";
import { unlessAborted, within } from "../limits.ts";
import { ReturnPathError, type ReturnPathReader } from "../return_path.ts";
import type { StreamWriter } from "../stream/stream_writer.ts";

/** How long an answer that decides is waited for after somebody cancelled. */
const GRACE_MS = 1000;

/** What the last phase needs of the session. */
export interface HandoverContext {
  readonly channel: OutgoingChannel;
  readonly writer: StreamWriter;
  readonly returnPath: ReturnPathReader;
  /** The flag that both sides map, in a live update. */
  readonly ownership: Ownership | undefined;
  /** Aborted with the reason when the migration is to end. */
  readonly signal: AbortSignal;
  /** The longest wait for an answer. */
  readonly milliseconds: number;
  /** What survives beside the guest is the destination's from now on. */
  handingOver(): Promise<void>;
}

/** Waits until the destination has the guest. Throws if it has not, or if that cannot be known. */
export async function handOver(context: HandoverContext): Promise<void> {
  const { returnPath, ownership, handingOver } = context;
  // While the destination loads.
  const announced = ownership && handingOver();
  announced?.catch(() => {});
  if (!returnPath.destinationAwaitsCommit) return await awaitOther(context);
  try {
    await limited(context, returnPath.loaded);
    await announced;
  } catch (error) {
    await announced?.catch(() => {});
    if (ownership === undefined) abort(context);
    throw error;
  }
  if (ownership === undefined) await commit(context);
}

/** Waits for a destination that starts the guest by itself. */
async function awaitOther(context: HandoverContext): Promise<void> {
  try {
    await decisive(context, () => context.returnPath.loaded);
  } catch (error) {
    if (error instanceof ReturnPathError && error.refused) throw error;
    throw new OwnerUnknownError("the destination has everything and has not answered", error);
  }
}

/** Gives the guest to a destination that has loaded it. */
async function commit(context: HandoverContext): Promise<void> {
  const { channel, writer, returnPath } = context;
  if (context.signal.aborted) {
    abort(context);
    throw context.signal.reason;
  }
  writer.command({ name: "COMMIT" });
  // It has read everything else, so there is room. If this fails, nothing was sent.
  if (channel.writeNow(writer.take()) === 0) {
    throw new ReturnPathError("the destination does not take COMMIT", false);
  }
  const what = "the destination was given the guest and has not confirmed that it runs there";
  let answer;
  try {
    answer = await decisive(context, () => returnPath.commitAnswer());
  } catch (error) {
    // A unix socket is reset only if what was sent was not read.
    if (isBrokenChannel(error) && isUnixSocket(channel.fd)) throw error;
    throw new OwnerUnknownError(what, error);
  }
  if (answer === "closed" && returnPath.destinationAcknowledgesCommit) {
    throw new OwnerUnknownError(what, new Error("it has closed the connection"));
  }
}

/** Has a destination that has loaded the machine give it up. One that is gone needs no word. */
function abort({ channel, writer }: HandoverContext): void {
  writer.command({ name: "ABORT" });
  try {
    send(channel.fd, writer.take());
  } catch (error) {
    if (!isBrokenChannel(error)) throw error;
  }
}

async function limited<Value>(
  { signal, milliseconds }: HandoverContext,
  answer: Promise<Value>,
): Promise<Value> {
  return await within(
    milliseconds,
    unlessAborted(answer, signal),
    () => new ReturnPathError(`the destination has not answered for ${milliseconds} ms`, false),
  );
}

/** An answer that decides who has the guest, whoever cancels: it may be on its way. */
async function decisive<Value>(
  context: HandoverContext,
  ask: () => Promise<Value>,
): Promise<Value> {
  const answer = ask();
  answer.catch(() => {});
  try {
    return await limited(context, answer);
  } catch (error) {
    if (!context.signal.aborted) throw error;
    return await within(GRACE_MS, answer, () => context.signal.reason);
  }
}
