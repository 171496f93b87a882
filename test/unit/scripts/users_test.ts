/** Scripts say as whom they are to be run where the machine's user matters. */
import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { ExitStatus, ScriptError } from "../../../scripts/lib/exit_status.ts";
import { explainRefusal, requireUser } from "../../../scripts/lib/users.ts";
import { parseQmpAddress, QmpConnectError } from "../../../src/qmp_client/mod.ts";

const NOBODY = 65534;

/** A process of another user: root's first one, or, if we are root, one of nobody's. */
function foreignProcess(): Disposable & { readonly pid: number } {
  if (Deno.uid() !== 0) return { pid: 1, [Symbol.dispose]: () => {} };
  const child = new Deno.Command("setpriv", {
    args: [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", "sleep", "600"],
    stdout: "null",
  }).spawn();
  // It becomes another user's a moment after it has started.
  while (!/^Name:\s*sleep$/m.test(Deno.readTextFileSync(`/proc/${child.pid}/status`)));
  return { pid: child.pid, [Symbol.dispose]: () => child.kill() };
}

Deno.test("what needs the machine's rights is refused to others, and says whose they are", () => {
  requireUser(Deno.pid, "this", { root: false });
  using foreign = foreignProcess();
  const error = assertThrows(
    () => requireUser(foreign.pid, "a successor", { root: false }),
    ScriptError,
  );
  assertEquals(error.status, ExitStatus.unavailable);
  assertMatch(
    error.message,
    /^a successor needs the rights of the machine, process \d+, which runs as user \S+: run this as that user$/,
  );
});

Deno.test("root may do what only needs permissions", () => {
  using foreign = foreignProcess();
  const check = () => requireUser(foreign.pid, "a file", { root: true });
  if (Deno.uid() === 0) check();
  else assertThrows(check, ScriptError, "run this as that user or as root");
});

Deno.test("a process that this host does not show is nobody's", () => {
  requireUser(2 ** 30, "this", { root: false });
});

Deno.test("a socket that this user may not use names its owner", () => {
  const address = parseQmpAddress("/proc/1/environ");
  const cause = new Deno.errors.PermissionDenied("denied");
  const refused = new QmpConnectError("cannot connect to /x: denied", { cause });
  const explained = explainRefusal(refused, address);
  const own = Deno.uid() === 0
    ? ""
    : ": it belongs to user 'root': run this as that user or as root";
  assertEquals((explained as Error).message, `cannot connect to /x: denied${own}`);
  const other = new QmpConnectError("cannot connect to /x: nobody listens");
  assertEquals(explainRefusal(other, address), other);
});
