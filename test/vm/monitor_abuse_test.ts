/** Monitors of a running machine against clients of every kind: the next client is always served. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { QmpClient } from "../../src/qmp_client/mod.ts";
import { patience } from "../support/patience.ts";
import { guestImage } from "../support/programs.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

/** A machine with a guest at work, and two more monitors to abuse. */
class Victim implements AsyncDisposable {
  readonly vm: VirtualMachine;
  readonly qmp: string;
  readonly hmp: string;
  readonly #resources: DisposableStack;

  private constructor(vm: VirtualMachine, directory: TemporaryDirectory, owner: DisposableStack) {
    this.vm = vm;
    this.qmp = directory.file("abused.qmp");
    this.hmp = directory.file("abused.hmp");
    this.#resources = owner;
  }

  static async start(): Promise<Victim> {
    const resources = new DisposableStack();
    const directory = resources.use(new TemporaryDirectory());
    const vm = await VirtualMachine.start("molt", [
      ...["-machine", "microvm", "-accel", "kvm", "-m", "64M", "-nodefaults", "-display", "none"],
      ...["-kernel", guestImage("idle.elf"), "-serial", "null"],
      ...["-qmp", `unix:${directory.file("abused.qmp")},server=on,wait=off`],
      ...["-monitor", `unix:${directory.file("abused.hmp")},server=on,wait=off`],
    ], { directory });
    return new Victim(vm, directory, resources);
  }

  /** Connects, after other clients if there are some waiting: a full queue refuses with EAGAIN. */
  async connect(path: string): Promise<Deno.UnixConn> {
    const signal = patience();
    for (;;) {
      try {
        return await Deno.connect({ transport: "unix", path });
      } catch (error) {
        if (!(error instanceof Deno.errors.WouldBlock) || signal.aborted) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** Sends `bytes` to a monitor and leaves without reading. */
  async insult(path: string, bytes: Uint8Array | string): Promise<void> {
    using connection = await this.connect(path);
    await send(connection, bytes);
  }

  /** A new client of both abused monitors gets its answers, and so does the old one of the third. */
  async mustServe(): Promise<void> {
    {
      using client = await QmpClient.connect(this.qmp, { wait: true, signal: patience() });
      assertEquals((await client.execute("query-status")).status, "running");
    }
    using people = await this.connect(this.hmp);
    assertStringIncludes(await readUntil(people, "(qemu) "), "monitor");
    await send(people, "info status\n");
    assertStringIncludes(await readUntil(people, "VM status: running"), "info status");
    assertEquals((await this.vm.qmp.execute("query-status")).status, "running");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vm.quit();
    await this.vm[Symbol.asyncDispose]();
    this.#resources[Symbol.dispose]();
  }
}

/** Writes all of it; a machine that hangs up first is as good. */
async function send(connection: Deno.UnixConn, text: Uint8Array | string): Promise<void> {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  for (let done = 0; done < bytes.length;) done += await connection.write(bytes.subarray(done));
}

async function readUntil(connection: Deno.UnixConn, end: string): Promise<string> {
  const signal = patience();
  const decoder = new TextDecoder("latin1");
  const buffer = new Uint8Array(65536);
  let text = "";
  while (!text.includes(end)) {
    signal.throwIfAborted();
    const count = await connection.read(buffer);
    if (count === null) throw new Error(`the monitor hung up after: ${text}`);
    text += decoder.decode(buffer.subarray(0, count));
  }
  return text;
}

/** A process that writes to a monitor for ever, reads nothing, and is killed in the middle of it. */
class Flooder implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;

  private constructor(process: Deno.ChildProcess) {
    this.#process = process;
  }

  static async start(path: string, text: string): Promise<Flooder> {
    const program = `
      const path = Deno.env.get("FLOODED") ?? "";
      const connection = await Deno.connect({ transport: "unix", path });
      const text = new TextEncoder().encode(Deno.env.get("FLOOD"));
      console.log("connected");
      for (;;) await connection.write(text);`;
    const process = new Deno.Command(Deno.execPath(), {
      args: ["eval", program],
      env: { FLOODED: path, FLOOD: text },
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const output = process.stdout.getReader();
    const { value } = await output.read();
    await output.cancel();
    assertEquals(new TextDecoder().decode(value), "connected\n");
    return new Flooder(process);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.status;
  }
}

/** Bytes that are the same in every run. */
function garbage(length: number): Uint8Array<ArrayBuffer> {
  let state = 0x2545f491;
  return Uint8Array.from({ length }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state & 0xff;
  });
}

const NEGOTIATION = '{"execute": "qmp_capabilities"}';

Deno.test("10,000 bytes of garbage leave both monitors usable", async () => {
  await using victim = await Victim.start();
  for (const path of [victim.qmp, victim.hmp]) {
    await victim.insult(path, garbage(10_000));
    await victim.insult(path, new Uint8Array(10_000));
    await victim.insult(path, new Uint8Array(10_000).fill(0xff));
    await victim.insult(path, "\x1b[A\x01\x02\x03\x04\x7f\t\t\t".repeat(1000));
  }
  await victim.mustServe();
});

Deno.test("clients that leave in the middle of a request, fifty in turn, are forgotten", async () => {
  await using victim = await Victim.start();
  const halves = [
    '{"execute": "query-st',
    `${NEGOTIATION}{"execute": "stop", "arguments": {`,
    `${NEGOTIATION}{"execute": "human-monitor-command", "arguments": {"command-line": "sto`,
    '"',
    "[[[[",
  ];
  for (let round = 0; round < 50; round++) {
    await victim.insult(victim.qmp, halves[round % halves.length] ?? "");
    await victim.insult(victim.hmp, "sto");
  }
  await victim.mustServe();
});

Deno.test("nesting without end and one endless word are refused, and the session goes on", async () => {
  await using victim = await Victim.start();
  using connection = await victim.connect(victim.qmp);
  await send(connection, NEGOTIATION);
  await readUntil(connection, '"return"');
  await send(connection, `${"[".repeat(5000)}\n`);
  assertStringIncludes(await readUntil(connection, "\n"), "error");
  // A byte that no JSON text holds has the parser start anew, as in QEMU.
  await send(connection, new Uint8Array([0xff, 0x0a]));
  await send(connection, '{"execute": "query-name", "id": "after"}');
  await readUntil(connection, '"after"');
  connection.close();

  {
    // What is typed is echoed: who does not read that cannot type on for ever.
    await using _ = await Flooder.start(victim.hmp, "x".repeat(65536));
  }
  await victim.mustServe();
});

Deno.test("a client that floods and never reads holds up nobody else", async () => {
  await using victim = await Victim.start();
  {
    const request = '{"execute": "query-commands"}';
    await using _qmp = await Flooder.start(victim.qmp, NEGOTIATION + request.repeat(2000));
    await using _hmp = await Flooder.start(victim.hmp, "help\n".repeat(2000));
    for (let round = 0; round < 50; round++) {
      assertEquals((await victim.vm.qmp.execute("query-status")).status, "running");
    }
  }
  await victim.mustServe();
});

Deno.test("a slow reader gets every answer, in order", async () => {
  await using victim = await Victim.start();
  const COUNT = 200;
  using connection = await victim.connect(victim.qmp);
  const requests = Array.from(
    { length: COUNT },
    (_, id) => `{"execute": "query-commands", "id": ${id}}`,
  );
  const sent = send(connection, NEGOTIATION + requests.join(""));
  const ids: number[] = [];
  const buffer = new Uint8Array(4096);
  const decoder = new TextDecoder();
  let rest = "";
  const signal = patience();
  while (ids.length < COUNT) {
    signal.throwIfAborted();
    const count = await connection.read(buffer) ?? 0;
    assert(count > 0);
    const lines = (rest + decoder.decode(buffer.subarray(0, count), { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const { id } = JSON.parse(line);
      if (id !== undefined) ids.push(id);
    }
    // Now and then it looks away.
    if (ids.length % 50 === 49) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await sent;
  assertEquals(ids, Array.from({ length: COUNT }, (_, id) => id));
});

Deno.test("a flood of events reaches who reads, and who does not read costs nothing", async () => {
  await using victim = await Victim.start();
  using deaf = await victim.connect(victim.qmp);
  await send(deaf, NEGOTIATION);
  const ROUNDS = 300;
  const { qmp } = victim.vm;
  using events = qmp.events("STOP", "RESUME");
  for (let round = 0; round < ROUNDS; round++) {
    await qmp.execute("stop");
    await qmp.execute("cont");
  }
  const names: string[] = [];
  for await (const { name } of events) {
    names.push(name);
    if (names.length === 2 * ROUNDS) break;
  }
  assertEquals(names, Array.from({ length: ROUNDS }, () => ["STOP", "RESUME"]).flat());
  deaf.close();
  await victim.mustServe();
});
