/** The checked program's own side of a preflight (protocol.ts). */
import { StreamChannel } from "../../../channel/stream.ts";
import { Descriptor, setCloseOnExec } from "../../../native/descriptor.ts";
import { getEnvironment, unsetEnvironment } from "../../../native/process.ts";
import { type Answer, SOCKETS_VARIABLE } from "./protocol.ts";

/** The ends that a checked program was started with. */
export interface PreflightSockets {
  /** Descriptors come here. */
  readonly cpr: Descriptor;
  /** The copy of the guest's state comes here. */
  readonly main: Descriptor;
  /** The answer leaves here. */
  readonly answers: Descriptor;
}

/** The ends that this process was started with, if it is checked. */
export function takePreflightSockets(): PreflightSockets | undefined {
  const value = getEnvironment(SOCKETS_VARIABLE);
  if (value === undefined) return undefined;
  unsetEnvironment(SOCKETS_VARIABLE);
  const [cpr, main, answers] = value.split(",").map((number) => new Descriptor(Number(number)));
  if (!cpr || !main || !answers) throw new Error(`${SOCKETS_VARIABLE} is '${value}'`);
  for (const { fd } of [cpr, main, answers]) setCloseOnExec(fd, true);
  return { cpr, main, answers };
}

/** Answers, and ends the connection. */
export async function sendAnswer(connection: Descriptor, answer: Answer): Promise<void> {
  using channel = new StreamChannel(connection, true);
  await channel.write(new TextEncoder().encode(JSON.stringify(answer)));
}
