/**
 * Clients that stay connected over live updates: a monitor's and a console's with `cpr=on`, which miss
 * no byte, no event and no reply; and those without, which connect again.
 */
import { assertEquals, assertGreater, assertMatch, assertStringIncludes } from "@std/assert";
import { awaitListening } from "../../scripts/lib/listening.ts";
import { ConsoleClient } from "../support/console_client.ts";
import { patience } from "../support/patience.ts";
import { SteadyRequests, SurvivingMachine, survivingSocket } from "../support/surviving_machine.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { unixChannels } from "../support/transferred_machine.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

const EXECS = 50;
const TRANSFERS = 10;
/** Requests that are under way at each moment. */
const REQUESTS = 3;
const replaced = "x-MONITOR_REPLACED";

/** Checks what the clients of a guest that has come through all this have received. */
async function checkClients(machine: SurvivingMachine, events: readonly string[]): Promise<void> {
  const { client, user } = machine;
  assertEquals(client.problems, []);
  assertEquals(client.events.map(({ event }) => event), events);
  const updates = client.events.filter(({ event }) => event === replaced);
  assertEquals(updates.map(({ data }) => data?.["generation"]), updates.map((_, i) => i + 1));
  assertEquals(updates.at(-1)?.data?.["pid"], machine.vm.pid);
  assertEquals(await client.request("query-status"), { status: "running", running: true });
  assertEquals(client.unanswered, []);
  assertGreater(client.answered, REQUESTS * updates.length);
  user.verify();
  assertGreater(user.echoed, updates.length);
}

Deno.test(`${EXECS} cpr-exec updates: clients miss no byte, no event and no reply`, async () => {
  using directory = new TemporaryDirectory();
  await using machine = await SurvivingMachine.start(directory);
  const { client, user, vm } = machine;
  user.type();
  const requests = new SteadyRequests(client, REQUESTS);
  const events = ["RESUME"];
  for (let update = 1; update <= EXECS; update++) {
    // With a file the guest is paused until the successor runs, otherwise an interim monitor has it.
    const state = update % 10 === 0 ? directory.file("state") : undefined;
    await machine.updateByExec(machine.command, state);
    await client.awaitEvents(replaced, update);
    events.push(...(state === undefined ? ["STOP", "RESUME"] : []), "STOP", "RESUME", replaced);
    await user.follow(2);
    if (update % 10 !== 1) continue;
    // A client of a monitor that does not survive is disconnected, connects again and is greeted.
    await vm.qmp.closed;
    await vm.connect();
    assertMatch(vm.qmp.greeting.version.package, /^molt/);
    assertEquals((await vm.qmp.execute("query-status")).status, "running");
  }
  await requests.stop();
  await user.rest();
  await checkClients(machine, events);
  await client.request("stop");
  await user.verifyLog(machine.logFile);
});

Deno.test(`${TRANSFERS} cpr-transfer updates: clients miss no byte, no event and no reply`, async () => {
  using directory = new TemporaryDirectory();
  await using machine = await SurvivingMachine.start(directory);
  const { client, user } = machine;
  user.type();
  const requests = new SteadyRequests(client, REQUESTS);
  const events = ["RESUME"];
  for (let update = 1; update <= TRANSFERS; update++) {
    await machine.updateByTransfer();
    events.push("STOP", "RESUME", replaced);
    await user.follow(2);
  }
  await requests.stop();
  await user.rest();
  await checkClients(machine, events);
  await client.request("stop");
  await user.verifyLog(machine.logFile);
});

Deno.test("a terminal that nobody reads for a while: what waits there in either direction waits on", async () => {
  using directory = new TemporaryDirectory();
  const link = directory.file("pty");
  const log = directory.file("log");
  await using machine = await SurvivingMachine.start(directory, {
    console: `pty,id=serial0,path=${link},cpr=on,logfile=${log}`,
    append: "memory=16 rate=50 period=10",
  });
  const { client } = machine;
  const terminal = Deno.readLinkSync(link);
  using input = await Deno.open(link, { write: true });
  const output = await Deno.open(link);
  await using user = new ConsoleClient({
    readable: output.readable,
    // Writing must not wait for reading.
    writable: new WritableStream({ write: (bytes) => void input.writeSync(bytes) }),
    close: () => output.close(),
  });
  // Reading from a terminal ends when nobody has its other side.
  await using _vm = { [Symbol.asyncDispose]: () => machine[Symbol.asyncDispose]() };
  await client.request("cont");
  await user.follow(1);
  user.type();
  for (let update = 1; update <= 3; update++) {
    user.pause();
    await blocked(log);
    if (update < 3) await machine.updateByExec();
    else await machine.updateByTransfer();
    await client.awaitEvents(replaced, update);
    user.resume();
    await user.follow(20);
    assertEquals(Deno.readLinkSync(link), terminal);
  }
  await user.rest();
  user.verify();
  await client.request("stop");
  await user.verifyLog(log);
});

/** Waits until a guest that prints all the time cannot go on: its log has stopped growing. */
async function blocked(log: string): Promise<void> {
  const signal = patience();
  for (let last = -1, size = 0; size !== last; size = Deno.statSync(log).size) {
    signal.throwIfAborted();
    last = size;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** A successor that starts when it is asked to: until then the guest is with the interim monitor. */
class DelayedSuccessor {
  readonly command: readonly string[];
  readonly #started: string;
  readonly #go: string;

  constructor(directory: TemporaryDirectory, command: readonly string[]) {
    const script = `: > "$0.started"; while [ ! -e "$0.go" ]; do sleep 0.02; done; exec "$@"`;
    this.command = ["sh", "-c", script, directory.file("successor"), ...command];
    this.#started = directory.file("successor.started");
    this.#go = directory.file("successor.go");
  }

  async awaitStart(): Promise<void> {
    const signal = patience();
    while (!await Deno.stat(this.#started).then(() => true, () => false)) {
      signal.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  go(): void {
    Deno.writeTextFileSync(this.#go, "");
  }
}

Deno.test("while the successor starts: the console is served, and clients wait for it", async () => {
  using directory = new TemporaryDirectory();
  const shell = directory.file("shell");
  await using machine = await SurvivingMachine.start(directory, {
    more: [...survivingSocket("shell", shell), "-mon", "chardev=shell,mode=readline"],
  });
  const { client, user } = machine;
  user.type();
  await user.follow(2);
  const successor = new DelayedSuccessor(directory, machine.command);
  await machine.updateByExec(successor.command);
  await successor.awaitStart();

  // The guest lives, and answers what is typed.
  const echoed = user.echoed;
  await user.follow(5);
  assertGreater(user.echoed, echoed);
  const answers = [
    ...["query-status", "query-name", "x-query-update"].map((command) => client.request(command)),
    client.request("query-no-such-thing").catch((error: Error) => error.message),
  ];
  // The queue of a socket that listens outlives the process that listened.
  using late = await Deno.connect({ transport: "unix", path: shell });
  await late.write(new TextEncoder().encode("info status\n"));
  const reported = client.events.length;
  successor.go();

  const [status, , update, error] = await Promise.all(answers);
  assertEquals(status, { status: "running", running: true });
  assertEquals((update as { generation: number }).generation, 1);
  assertStringIncludes(String(error), "CommandNotFound");
  let said = "";
  for await (const text of late.readable.pipeThrough(new TextDecoderStream())) {
    said += text;
    if (said.includes("VM status: running")) break;
  }
  assertMatch(said, /^QEMU [\d.]+ monitor/);
  await client.awaitEvents(replaced, 1);
  // RESUME and STOP; the interim monitor's come from the successor.
  assertEquals(reported, 2);
  assertEquals(client.events.map(({ event }) => event), [
    "RESUME",
    "STOP",
    "RESUME",
    "STOP",
    "RESUME",
    replaced,
  ]);
  assertEquals(client.problems, []);
  await user.rest();
});

Deno.test("a guest that resets while the successor starts: clients are notified", async () => {
  using directory = new TemporaryDirectory();
  await using machine = await SurvivingMachine.start(directory);
  const { client, user } = machine;
  const successor = new DelayedSuccessor(directory, machine.command);
  await machine.updateByExec(successor.command);
  await successor.awaitStart();
  const start = /^heartbeat cpus=/gm;
  user.check.expectRestart();
  await user.press("r");
  await user.follow(3);
  assertEquals(user.received.match(start)?.length, 2);
  successor.go();
  await client.awaitEvents(replaced, 1);
  const events = ["RESUME", "STOP", "RESUME", "RESET", "STOP", "RESUME", replaced];
  assertEquals(client.events.map(({ event }) => event), events);
  await user.follow(3);
});

Deno.test("a guest that powers off while the successor starts: the successor ends", async () => {
  using directory = new TemporaryDirectory();
  await using machine = await SurvivingMachine.start(directory, { machine: "microvm" });
  const { client, user, vm } = machine;
  const successor = new DelayedSuccessor(directory, machine.command);
  await machine.updateByExec(successor.command);
  await successor.awaitStart();
  await user.press("q");
  await user.silence();
  successor.go();
  assertEquals((await vm.exited).code, 0, vm.describe());
  await client.closed;
  assertEquals(client.count("SHUTDOWN"), 1, JSON.stringify(client.events));
});

Deno.test("a destination that refuses the guest leaves the names of its sockets alone", async () => {
  using directory = new TemporaryDirectory();
  await using machine = await SurvivingMachine.start(directory);
  const { client, user, options } = machine;
  const channels = unixChannels(directory.file("main"), directory.file("cpr"));
  const other = options.map((option) => option === "2" ? "1" : option);
  await using destination = await VirtualMachine.start(
    "molt",
    [...other, ...channels.flatMap((channel) => ["-incoming", JSON.stringify(channel)])],
    { directory, name: "other" },
  );
  await awaitListening(directory.file("cpr"), destination.pid, patience());
  await client.request("migrate-set-parameters", { mode: "cpr-transfer" });
  await client.request("migrate", { channels });
  const failed = async () =>
    (await client.request("query-migrate") as { status?: string }).status === "failed";
  for (const signal = patience(); !await failed();) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await destination.quit();
  for (const socket of ["monitor", "console"]) {
    assertEquals(Deno.lstatSync(directory.file(socket)).isSocket, true, socket);
  }
  await using _ = await ConsoleClient.connect(directory.file("console"));
  await user.follow(2);
});
