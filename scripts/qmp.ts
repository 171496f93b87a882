/**
 * deno task qmp: executes QMP commands that are typed in a shell, one after the other.
 *
 *   connect -> COMMAND -> its reply, a line of JSON -> ... -> with --follow: query-migrate to the end
 */
import { parseArgs } from "@std/cli/parse-args";
import {
  followMigration,
  type MigrationInformation,
  parseQmpAddress,
  QmpClient,
  QmpConnectError,
  QmpDisconnectedError,
  QmpError,
} from "../src/qmp_client/mod.ts";

const help = `Usage: deno task qmp ADDRESS [--follow] [--timeout SECONDS] COMMAND ...

Executes QMP commands on a machine's monitor, molt's or QEMU's, and prints each reply as a line of JSON.
A COMMAND is one word for the shell: its name and, after a space, its arguments in JSON:

  deno task qmp vm/qmp.sock query-status 'human-monitor-command {"command-line": "info version"}'

ADDRESS is a unix socket's path, or HOST:PORT. A server that is not there yet is waited for.

  --follow           waits until the machine's migration has completed, and prints the last reply to
                     query-migrate. After cpr-exec it connects to the new program
  --timeout SECONDS  how long the server, a reply or the migration may take (default 60)

Exit status: 0 done, 1 a command was refused or the migration failed, 2 the arguments make no sense,
3 no server answers.`;

/** What was typed makes no sense. */
class UsageError extends Error {}

interface Command {
  readonly name: string;
  readonly given: Record<string, unknown>;
}

/** `NAME {JSON}`: a command and its arguments. */
function parseCommand(text: string): Command {
  const [name = ""] = text.trim().split(/\s/, 1);
  const json = text.trim().slice(name.length);
  try {
    const given: unknown = json.trim() === "" ? {} : JSON.parse(json);
    if (typeof given === "object" && given !== null && !Array.isArray(given)) {
      return { name, given: { ...given } };
    }
    throw new UsageError(`${name}: the arguments are no JSON object: ${json.trim()}`);
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new UsageError(`${name}: ${cause.message}: ${json.trim()}`, { cause });
  }
}

function checkAddress(address: string): void {
  try {
    parseQmpAddress(address);
  } catch (cause) {
    if (!(cause instanceof QmpError)) throw cause;
    throw new UsageError(cause.message, { cause });
  }
}

/** Follows a migration to its end, in whichever process answers at the address. */
async function follow(first: QmpClient, signal: AbortSignal): Promise<MigrationInformation> {
  let client = first;
  let last: MigrationInformation = {};
  for (;;) {
    try {
      for await (last of followMigration(client, { signal }));
      return last;
    } catch (error) {
      if (!(error instanceof QmpDisconnectedError)) throw error;
    } finally {
      client[Symbol.dispose]();
    }
    client = await QmpClient.connect(first.address, { wait: true, signal });
  }
}

function print(reply: unknown): void {
  console.log(JSON.stringify(reply));
}

async function run(argv: readonly string[]): Promise<void> {
  const typed: Record<string, unknown> & { _: string[] } = parseArgs([...argv], {
    boolean: ["follow"],
    string: ["timeout", "_"],
    default: { timeout: "60" },
    unknown: (argument: string, key?: string) => {
      if (key !== undefined) throw new UsageError(`unknown option ${argument}`);
      return true;
    },
  });
  const [address, ...words] = typed._;
  const timeout = Number(typed.timeout);
  if (!(timeout > 0)) throw new UsageError(`--timeout ${typed.timeout}: seconds are expected`);
  if (address === undefined) throw new UsageError("the monitor's ADDRESS is missing");
  if (words.length === 0 && !typed.follow) throw new UsageError("a COMMAND is missing");
  checkAddress(address);
  const commands = words.map(parseCommand);

  const limit = () => AbortSignal.timeout(timeout * 1000);
  using client = await QmpClient.connect(address, { wait: true, signal: limit() });
  for (const { name, given } of commands) {
    print(await client.executeUntyped(name, given, { signal: limit() }));
  }
  if (typed.follow) print(await follow(client, limit()));
}

function statusOf(error: unknown): number {
  if (error instanceof UsageError) return 2;
  return error instanceof QmpConnectError ? 3 : 1;
}

if (Deno.args.includes("--help") || Deno.args.length === 0) {
  console.log(help);
  Deno.exit(Deno.args.length === 0 ? 2 : 0);
}
// `deno task` goes to the project's directory; what was typed is meant in another.
const typedIn = Deno.env.get("INIT_CWD");
if (typedIn !== undefined) Deno.chdir(typedIn);
try {
  await run(Deno.args);
} catch (error) {
  const timedOut = error instanceof DOMException && error.name === "TimeoutError";
  if (!(timedOut || error instanceof UsageError || error instanceof QmpError)) throw error;
  console.error(`qmp: ${timedOut ? "nothing more came in time: see --timeout" : error.message}`);
  Deno.exit(statusOf(error));
}
Deno.exit(0);
