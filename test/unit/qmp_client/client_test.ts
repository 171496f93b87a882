import { assertEquals, assertRejects } from "@std/assert";
import {
  QmpClient,
  QmpCommandError,
  QmpConnectError,
  QmpDisconnectedError,
  QmpError,
  QmpProtocolError,
} from "../../../src/qmp_client/mod.ts";
import { ScriptedServer } from "./scripted_server.ts";

const stop = {
  event: "STOP",
  timestamp: { seconds: 1700000000, microseconds: 250 },
};

Deno.test("a client negotiates, with out-of-band execution where the server has it", async () => {
  await using server = new ScriptedServer(({ id }) => [{ return: {}, id }]);
  await using client = await QmpClient.connect(server.path);
  assertEquals(client.greeting.version.qemu.major, 11);
  await client.execute("cont");
  await client.executeUntyped("migrate-pause", {}, { outOfBand: true });
  assertEquals(server.requests.map(({ id: _, ...rest }) => rest), [
    { execute: "qmp_capabilities", arguments: { enable: ["oob"] } },
    { execute: "cont", arguments: {} },
    { "exec-oob": "migrate-pause", arguments: {} },
  ]);
});

Deno.test("results are typed, and keep members that the client does not know", async () => {
  await using server = new ScriptedServer(({ id }) => [
    { return: { status: "running", running: true, more: 1 }, id },
  ]);
  await using client = await QmpClient.connect(`unix:${server.path},server=on`);
  const { status, running, more } = await client.execute("query-status");
  assertEquals([status, running, more], ["running", true, 1]);
});

Deno.test("replies belong to their commands, in whatever order they come", async () => {
  const held: number[] = [];
  await using server = new ScriptedServer(({ id, execute }) => {
    held.push(id);
    if (execute !== "last") return [];
    return held.toReversed().map((id) => ({ return: `reply ${id}`, id }));
  });
  await using client = await QmpClient.connect(server.path);
  const replies = await Promise.all(
    ["first", "second", "last"].map((name) => client.executeUntyped(name)),
  );
  assertEquals(replies, held.map((id) => `reply ${id}`));
});

Deno.test("a refused command throws with its class and the server's text", async () => {
  await using server = new ScriptedServer(({ id }) => [
    { error: { class: "CommandNotFound", desc: "The command nope has not been found" }, id },
  ]);
  await using client = await QmpClient.connect(server.path);
  const error = await assertRejects(
    () => client.executeUntyped("nope"),
    QmpCommandError,
    "nope: The command nope has not been found",
  );
  assertEquals(error.errorClass, "CommandNotFound");
});

Deno.test("arguments and results that do not fit the command are named", async () => {
  await using server = new ScriptedServer(({ id }) => [{ return: { status: "asleep" }, id }]);
  await using client = await QmpClient.connect(server.path);
  await assertRejects(
    () => client.execute("migrate-set-parameters", { mode: "fast" as "normal" }),
    QmpError,
    "arguments of migrate-set-parameters",
  );
  await assertRejects(
    () => client.execute("query-status"),
    QmpProtocolError,
    "result of query-status",
  );
  assertEquals(server.requests.length, 2, "what does not fit is not sent");
});

Deno.test("events of the wanted kinds are there from the moment that they are asked for", async () => {
  const resume = { ...stop, event: "RESUME" };
  await using server = new ScriptedServer(({ id }) => [stop, resume, stop, { return: {}, id }]);
  await using client = await QmpClient.connect(server.path);
  using all = client.events();
  using stops = client.events("STOP");
  await client.execute("stop");
  assertEquals(await stops.take(), { name: "STOP", data: {}, time: 1700000000000250 });
  assertEquals(stops.takeAll().length, 1);
  assertEquals((await all.take({ matches: ({ name }) => name === "RESUME" })).name, "RESUME");
});

Deno.test("a stream of events ends with the connection", async () => {
  await using server = new ScriptedServer(() => [stop]);
  await using client = await QmpClient.connect(server.path);
  using events = client.events("STOP");
  const failed = assertRejects(() => client.execute("quit"), QmpDisconnectedError);
  const names: string[] = [];
  for await (const { name } of events) {
    names.push(name);
    server.close();
  }
  await failed;
  assertEquals(names, ["STOP"]);
  await assertRejects(() => events.take(), QmpDisconnectedError);
  await assertRejects(() => client.execute("cont"), QmpDisconnectedError);
});

Deno.test("waiting ends when its signal says so, and a late reply does no harm", async () => {
  let first: number | undefined;
  await using server = new ScriptedServer(({ id, execute }) => {
    if (execute === "cont") return [{ return: {}, id: first }, { return: {}, id }];
    first = id;
    return [];
  });
  await using client = await QmpClient.connect(server.path);
  const timeout = () => ({ signal: AbortSignal.timeout(5) });
  const assertTimesOut = async (wait: () => Promise<unknown>) =>
    assertEquals((await assertRejects(wait, DOMException)).name, "TimeoutError");
  await assertTimesOut(() => client.execute("stop", {}, timeout()));
  using events = client.events();
  await assertTimesOut(() => events.take(timeout()));
  assertEquals(await client.execute("cont"), {});
});

Deno.test("pretty-printed servers are understood too", async () => {
  const answer = ({ id }: { id: number }) => [{ return: { deep: { deeper: ["}"] } }, id }];
  await using server = new ScriptedServer(answer, { pretty: true });
  await using client = await QmpClient.connect(server.path);
  assertEquals(await client.executeUntyped("query"), { deep: { deeper: ["}"] } });
});

Deno.test("what is not QMP ends the connection with the reason", async () => {
  for (
    const [sent, problem] of [
      ["SSH-2.0-OpenSSH\r\n", "not JSON: SSH-2.0-OpenSSH"],
      ['{"hello": 1}\r\n', 'not a QMP message: {"hello": 1}'],
      [
        '{"event": "SHUTDOWN", "data": {}, "timestamp": {"seconds": 1, "microseconds": 1}}\n',
        "event SHUTDOWN: unexpected data",
      ],
      ['{"error": {"class": "GenericError", "desc": "JSON parse error"}}\n', "JSON parse error"],
    ] as const
  ) {
    await using server = new ScriptedServer(() => [sent]);
    await using client = await QmpClient.connect(server.path);
    await assertRejects(() => client.executeUntyped("x"), QmpProtocolError, problem);
  }
});

Deno.test("a server that is not there, or talks to somebody else, is named", async () => {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/none.sock`;
  await assertRejects(() => QmpClient.connect(path), QmpConnectError, `cannot connect to ${path}`);
  const signal = AbortSignal.timeout(30);
  await assertRejects(() => QmpClient.connect(path, { wait: true, signal }), QmpConnectError, path);
  await Deno.remove(directory);
  await using server = new ScriptedServer(() => [], { silent: true });
  await assertRejects(
    () => QmpClient.connect(server.path, { signal: AbortSignal.timeout(30) }),
    QmpConnectError,
    "does not answer: is another client connected to it?",
  );
});

Deno.test("a client can wait for a server that comes later", async () => {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/qmp.sock`;
  const connecting = QmpClient.connect(path, { wait: true, signal: AbortSignal.timeout(10_000) });
  await using server = new ScriptedServer(({ id }) => [{ return: {}, id }]);
  await Deno.rename(server.path, path);
  await using client = await connecting;
  assertEquals(await client.execute("stop"), {});
  await Deno.remove(directory, { recursive: true });
});

Deno.test("a closed client's commands and streams say so", async () => {
  await using server = new ScriptedServer(() => []);
  const client = await QmpClient.connect(server.path);
  using events = client.events();
  const waiting = assertRejects(() => client.execute("stop"), QmpDisconnectedError, "closed here");
  await client[Symbol.asyncDispose]();
  await waiting;
  await assertRejects(() => events.take(), QmpDisconnectedError);
});
