/** Whose rights a script needs: for whom QMP is enough the machine's user does not matter. */
import { type QmpAddress, QmpConnectError } from "../../src/qmp_client/mod.ts";
import { ExitStatus, ScriptError } from "./exit_status.ts";

const ROOT = 0;

/** The user that a process runs as, by number; undefined if this host shows no such process. */
function userOfProcess(pid: number): number | undefined {
  try {
    const uid = Deno.readTextFileSync(`/proc/${pid}/status`).match(/^Uid:\s*(\d+)/m)?.[1];
    return uid === undefined ? undefined : Number(uid);
  } catch {
    return undefined;
  }
}

/** `user 'vm'`, or `user 1004` if /etc/passwd does not list it. */
function describeUser(uid: number): string {
  try {
    const names = Deno.readTextFileSync("/etc/passwd").split("\n").map((line) => line.split(":"));
    const name = names.find(([, , number]) => number === String(uid))?.[0];
    if (name !== undefined) return `user '${name}'`;
  } catch {
    // Then there is only the number.
  }
  return `user ${uid}`;
}

/**
 * Throws, saying as whom to run the script, if it does not run as the user of machine `pid`. `what` needs
 * that user's rights. `root`: root may do it as well.
 */
export function requireUser(
  pid: number,
  what: string,
  { root }: { readonly root: boolean },
): void {
  const user = userOfProcess(pid);
  const own = Deno.uid();
  if (user === undefined || user === own || (root && own === ROOT)) return;
  throw new ScriptError(
    ExitStatus.unavailable,
    `${what} needs the rights of the machine, process ${pid}, which runs as ${
      describeUser(user)
    }: ` +
      `run this as that user${root ? " or as root" : ""}`,
  );
}

/** `: it belongs to user 'vm': run this as that user or as root` for a file that this user may not use. */
export function ownerHint(path: string): string {
  try {
    const { uid } = Deno.statSync(path);
    if (uid === null || uid === Deno.uid()) return "";
    return `: it belongs to ${describeUser(uid)}: run this as that user or as root`;
  } catch {
    return "";
  }
}

/** The error with what to do about it, if a monitor's socket may not be used by this user. */
export function explainRefusal(error: unknown, address: QmpAddress): unknown {
  const denied = error instanceof QmpConnectError &&
    error.cause instanceof Deno.errors.PermissionDenied;
  if (!denied || address.transport !== "unix") return error;
  return new QmpConnectError(`${error.message}${ownerHint(address.path)}`, { cause: error.cause });
}
