/**
 * Descriptors given to a machine by the monitor that is to use them:
 *
 *   greeting -> qmp_capabilities -> getfd with the descriptor -> the command
 */
import { ChannelDescriptor } from "../../src/native/channel.ts";
import type { Descriptor } from "../../src/native/descriptor.ts";
import { connect, receive, send } from "../../src/native/socket.ts";
import { patience } from "./patience.ts";

const INTERVAL = 5;

/** Gives the monitor that listens at `path` a duplicate of `descriptor` as `name`, and a command. */
export async function executeWithDescriptor(
  path: string,
  descriptor: Descriptor,
  name: string,
  command: string,
  given: object,
): Promise<void> {
  const signal = patience();
  using monitor = new ChannelDescriptor(await connect({ kind: "unix", path, abstract: false }));
  const decoder = new TextDecoder();
  let received = "";
  const reply = async (expected: string) => {
    while (!received.includes(`{"${expected}"`)) {
      signal.throwIfAborted();
      if (received.includes(`{"error"`)) throw new Error(`${path} refuses: ${received}`);
      const buffer = new Uint8Array(4096);
      const part = receive(monitor.fd, buffer);
      if (part === undefined) await new Promise((resolve) => setTimeout(resolve, INTERVAL));
      else if (part.length === 0) throw new Error(`${path} closed the connection: ${received}`);
      else received += decoder.decode(buffer.subarray(0, part.length), { stream: true });
    }
    received = "";
  };
  const execute = (request: object, passengers: readonly Descriptor[]) => {
    const bytes = new TextEncoder().encode(`${JSON.stringify(request)}\n`);
    send(monitor.fd, new Uint8Array(bytes), passengers.map(({ fd }) => fd));
    return reply("return");
  };
  await reply("QMP");
  await execute({ execute: "qmp_capabilities" }, []);
  await execute({ execute: "getfd", arguments: { fdname: name } }, [descriptor]);
  await execute({ execute: command, arguments: given }, []);
}
