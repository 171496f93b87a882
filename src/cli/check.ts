/**
 * molt check: asks a running machine whether a program would take its guest over by a live update
 * (migration/cpr/preflight/protocol.ts).
 */
import { parseArgs } from "@std/cli/parse-args";
import { ChannelDescriptor } from "../native/channel.ts";
import { processLoop } from "../native/event_loop.ts";
import { connect } from "../native/socket.ts";
import { type QmpAddress, QmpClient, type QmpConnection, QmpError } from "../qmp_client/mod.ts";
import { announce, report } from "../process/messages.ts";

const usage = `usage: molt check --qmp ADDRESS [--] [COMMAND...]

Asks the machine whose monitor is at ADDRESS (a unix socket's path, or HOST:PORT) whether COMMAND, a
molt with all its arguments, would take its guest over. Without COMMAND it is the machine's own command
line, whatever its path leads to by now. The guest runs on, and nothing of it is touched.

Exit status: 0 yes; 1 no, with the reason; 2 wrong usage; 3 it cannot be known, with the reason.`;

/** Exit statuses by answer. */
const statuses = { yes: 0, no: 1, unknown: 3 } as const;
const USAGE = 2;
/** How long the answer may take, in ms; the machine ends what it asks before. */
const PATIENCE = 120_000;
/** Most bytes that are read at once. */
const READ_SIZE = 65536;

/** Runs it and returns the exit status. */
export async function check(argv: readonly string[]): Promise<number> {
  const options = parseArgs([...argv], {
    string: ["qmp", "_"],
    boolean: ["help"],
    stopEarly: true,
    "--": false,
  });
  if (options.help) {
    announce(usage);
    return 0;
  }
  if (typeof options.qmp !== "string" || options.qmp === "") {
    report("check: --qmp is missing");
    console.error(usage);
    return USAGE;
  }
  const loop = processLoop();
  const served = loop.run();
  try {
    return await ask(options.qmp, options._.map(String));
  } finally {
    loop.stop();
    await served;
  }
}

async function ask(address: string, typed: readonly string[]): Promise<number> {
  try {
    const signal = AbortSignal.timeout(PATIENCE);
    await using machine = await QmpClient.connect(address, { signal, open });
    const command = typed.length > 0
      ? typed
      : (await machine.execute("x-query-update", {}, { signal })).launch?.command ?? [];
    const answer = await machine.execute("x-check-update", { command: [...command] }, {
      signal,
    });
    if (answer.result === "yes") announce(`yes: ${answer.program}`);
    else report(`check: ${answer.result}: ${answer.reason}`);
    return statuses[answer.result];
  } catch (error) {
    if (!(error instanceof QmpError)) throw error;
    report(`check: ${error.message}`);
    return statuses.unknown;
  }
}

/** By the C library: molt has no other permission. */
async function open(address: QmpAddress): Promise<QmpConnection> {
  const descriptor = await connect(
    address.transport === "unix"
      ? { kind: "unix", path: address.path, abstract: false }
      : { kind: "inet", host: address.hostname, port: String(address.port) },
  );
  const channel = new ChannelDescriptor(descriptor);
  const close = () => channel[Symbol.dispose]();
  return {
    readable: new ReadableStream({
      pull: async (controller) => {
        const bytes = new Uint8Array(READ_SIZE);
        const count = await channel.read(bytes);
        if (count === 0) controller.close();
        else controller.enqueue(bytes.subarray(0, count));
      },
    }),
    writable: new WritableStream({ write: (bytes) => channel.write(new Uint8Array(bytes)) }),
    close,
  };
}
