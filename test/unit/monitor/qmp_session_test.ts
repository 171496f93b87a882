import { assert, assertEquals, assertMatch } from "@std/assert";
import { commandTable, defineCommand } from "../../../src/monitor/command.ts";
import { sessionCommands } from "../../../src/monitor/commands/session.ts";
import { QmpSession } from "../../../src/monitor/qmp/session.ts";
import { empty } from "../../../src/qapi/types.ts";
import { Descriptor } from "../../../src/native/descriptor.ts";
import { createPipe, status } from "../../../src/native/file.ts";
import { endSending, send } from "../../../src/native/socket.ts";
import { bytesOf, openDescriptors, until } from "../backends/bench.ts";
import { MonitorBench } from "./bench.ts";

const GREETING = '{"QMP": {"version": {"qemu": {"major": 11, "minor": 1, "micro": 3}, ' +
  '"package": "molt test"}, "capabilities": ["oob"]}}';

function error(desc: string, errorClass = "GenericError") {
  return { error: { class: errorClass, desc } };
}

Deno.test("a client is greeted, negotiates, asks, and gets its id back", async () => {
  await using bench = new MonitorBench();
  using client = await bench.connect(await bench.listen());
  assertEquals(await client.line(), GREETING);
  client.send('{"execute": "qmp_capabilities"}\n');
  assertEquals(await client.line(), '{"return": {}}');
  client.send('{"execute": "query-status", "id": [1, {"a": 18446744073709551615}]}\n');
  assertEquals(
    await client.line(),
    '{"return": {"status": "running", "running": true}, ' +
      '"id": [1, {"a": 18446744073709551615}]}',
  );
  client.send('{"execute": "nosuch", "id": null}\n');
  assertEquals(
    await client.line(),
    '{"id": null, "error": {"class": "CommandNotFound", ' +
      '"desc": "The command nosuch has not been found"}}',
  );
});

Deno.test("before negotiation there is only qmp_capabilities, after it there is none", async () => {
  await using bench = new MonitorBench();
  using client = await bench.connect(await bench.listen());
  await client.message();
  assertEquals(
    await client.ask({ execute: "query-status" }),
    error("Expecting capabilities negotiation with 'qmp_capabilities'", "CommandNotFound"),
  );
  assertEquals(
    await client.ask({ execute: "qmp_capabilities", arguments: { enable: ["bogus"] } }),
    error("Parameter 'null' does not accept value 'bogus'"),
  );
  assertEquals(await client.ask({ execute: "qmp_capabilities" }), { return: {} });
  assertEquals(
    await client.ask({ execute: "qmp_capabilities" }),
    error("Capabilities negotiation is already complete, command ignored", "CommandNotFound"),
  );
});

Deno.test("requests of a wrong form are refused in QEMU's words, and the session goes on", async () => {
  await using bench = new MonitorBench();
  using client = await bench.client(await bench.listen());
  const cases: [string, unknown][] = [
    ["[]", error("QMP input must be a JSON object")],
    ["1 ", error("QMP input must be a JSON object")],
    ["{}", error("QMP input lacks member 'execute'")],
    ['{"execute": 1}', error("QMP input member 'execute' must be a string")],
    ['{"execute": "stop", "x": 1}', error("QMP input member 'x' is unexpected")],
    [
      '{"execute": "stop", "arguments": 1}',
      error("QMP input member 'arguments' must be an object"),
    ],
    ['{"exec-oob": "stop"}', error("QMP input member 'exec-oob' is unexpected")],
    ['{"execute": "stop", "arguments": {"x": 1}}', error("Parameter 'x' is unexpected")],
  ];
  for (const [request, reply] of cases) {
    client.send(request);
    assertEquals(await client.message(), reply, request);
  }
  client.send("\n{]");
  assertEquals(await client.message(), error("2:2: JSON parse error, expecting key"));
  client.send("\n%p");
  assertEquals(await client.message(), error("3:1: JSON parse error, stray '%'"));
  client.send('\n{"execute": "query-uuid"}');
  assertEquals(await client.message(), {
    return: { UUID: "00000000-0000-0000-0000-000000000001" },
  });
});

Deno.test("requests may share packets or be cut anywhere; replies keep their order", async () => {
  await using bench = new MonitorBench();
  using client = await bench.client(await bench.listen());
  const requests = Array.from(
    { length: 50 },
    (_, id) => `{"execute": "${id % 3 === 0 ? "nosuch" : "query-status"}", "id": ${id}}`,
  ).join("");
  client.send(requests);
  for (let id = 0; id < 50; id++) {
    assertMatch(await client.line(), new RegExp(`"id": ${id}[,}]`));
  }
  for (let at = 0; at < requests.length; at += 7) {
    client.send(requests.slice(at, at + 7));
    await new Promise((resolve) => setTimeout(resolve));
  }
  for (let id = 0; id < 50; id++) {
    assertMatch(await client.line(), new RegExp(`"id": ${id}[,}]`));
  }
});

Deno.test("events go to every session that has negotiated, in order with replies", async () => {
  await using bench = new MonitorBench();
  const path = await bench.listen();
  using first = await bench.client(path);
  using second = await bench.client(await bench.listen());
  using silent = await bench.connect(await bench.listen());
  await silent.message();
  first.send('{"execute": "stop", "id": 1}{"execute": "stop", "id": 2}{"execute": "cont"}');
  assertMatch(
    await first.line(),
    /^\{"timestamp": \{"seconds": \d+, "microseconds": \d+\}, "event": "STOP"\}$/,
  );
  assertEquals(await first.line(), '{"return": {}, "id": 1}');
  assertEquals(await first.line(), '{"return": {}, "id": 2}');
  assertMatch(await first.line(), /"event": "RESUME"/);
  assertEquals(await first.line(), '{"return": {}}');
  assertMatch(await second.line(), /"event": "STOP"/);
  assertMatch(await second.line(), /"event": "RESUME"/);
  bench.events.emit({ name: "SHUTDOWN", data: { guest: true, reason: "guest-shutdown" } });
  assertMatch(
    await second.line(),
    /"event": "SHUTDOWN", "data": \{"guest": true, "reason": "guest-shutdown"\}\}$/,
  );
  assertEquals(
    await silent.ask({ execute: "qmp_capabilities" }),
    { return: {} },
  );
});

Deno.test("events that could flood are emitted once a second, the latest of them at its end", async () => {
  await using bench = new MonitorBench();
  using client = await bench.client(await bench.listen());
  for (const open of [true, false, true]) {
    bench.events.emit({ name: "VSERPORT_CHANGE", data: { id: "a", open } });
  }
  bench.events.emit({ name: "VSERPORT_CHANGE", data: { id: "b", open: true } });
  bench.events.emit({ name: "POWERDOWN" });
  assertMatch(await client.line(), /"VSERPORT_CHANGE", "data": \{"id": "a", "open": true\}/);
  assertMatch(await client.line(), /"VSERPORT_CHANGE", "data": \{"id": "b", "open": true\}/);
  assertMatch(await client.line(), /"POWERDOWN"/);
  assertMatch(await client.line(), /"VSERPORT_CHANGE", "data": \{"id": "a", "open": true\}/);
});

Deno.test("out-of-band commands run before those that came earlier, if they may", async () => {
  await using bench = new MonitorBench();
  const path = await bench.listen();
  using client = await bench.connect(path);
  await client.message();
  // Enabled by a request in the same packet.
  client.send(
    '{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}}' +
      '{"exec-oob": "query-status", "id": 1}',
  );
  assertEquals(await client.message(), { return: {} });
  assertEquals(await client.message(), {
    id: 1,
    ...error("The command query-status does not support OOB"),
  });
  assertEquals(
    await client.ask({ "exec-oob": "nosuch" }),
    error("The command nosuch has not been found", "CommandNotFound"),
  );
  assertEquals(
    await client.ask({ "exec-oob": "x", execute: "y" }),
    error("QMP input member 'execute' clashes with 'exec-oob'"),
  );
});

Deno.test("no event comes before the answer to qmp_capabilities", async () => {
  await using bench = new MonitorBench();
  const path = bench.path("own");
  await bench.create({ id: "own", backend: "socket", path, server: "on", wait: "off" });
  const negotiated = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  const negotiation = defineCommand({
    name: "qmp_capabilities",
    arguments: empty,
    run: async (_context, _values, invocation) => {
      invocation.negotiate([]);
      negotiated.resolve();
      await answer.promise;
    },
  });
  using _session = new QmpSession(bench.chardevs.port("own"), {
    context: bench.context,
    events: bench.events,
    commands: () => Promise.resolve(commandTable([negotiation])),
  }, false);
  using client = await bench.connect(path);
  bench.events.emit({ name: "POWERDOWN" });
  assertEquals(await client.line(), GREETING);
  client.send('{"execute": "qmp_capabilities", "id": 7}');
  await negotiated.promise;
  bench.events.emit({ name: "POWERDOWN" });
  answer.resolve();
  assertEquals(await client.message(), { return: {}, id: 7 });
  bench.events.emit({ name: "POWERDOWN" });
  assertMatch(await client.line(), /"POWERDOWN"/);
});

Deno.test("an out-of-band command overtakes an in-band one that takes long", async () => {
  await using bench = new MonitorBench();
  const path = bench.path("own");
  await bench.create({ id: "own", backend: "socket", path, server: "on", wait: "off" });
  const slow = Promise.withResolvers<void>();
  const own = [
    defineCommand({ name: "slow", arguments: empty, run: () => slow.promise }),
    defineCommand({ name: "fast", oob: true, arguments: empty, run: () => {} }),
  ];
  using _session = new QmpSession(bench.chardevs.port("own"), {
    context: bench.context,
    events: bench.events,
    commands: () => Promise.resolve(commandTable([...sessionCommands, ...own])),
  }, false);
  using client = await bench.client(path, ["oob"]);
  client.send('{"execute": "slow", "id": 1}{"execute": "fast", "id": 2}');
  client.send('{"exec-oob": "fast", "id": 3}');
  assertEquals(await client.message(), { return: {}, id: 3 });
  slow.resolve();
  assertEquals(await client.message(), { return: {}, id: 1 });
  assertEquals(await client.message(), { return: {}, id: 2 });
});

Deno.test("a client that does not read its replies is not read from, and loses nothing", async () => {
  await using bench = new MonitorBench();
  using client = await bench.client(await bench.listen());
  const request = bytesOf('{"execute": "query-qmp-schema"}\n');
  let sent = 0;
  let idle = 0;
  while (idle < 20 && sent < 100_000) {
    if (send(client.fd, request) === request.length) {
      sent++;
      idle = 0;
    } else {
      idle++;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
  assert(sent < 100_000, "the monitor read all of an endless flood");
  using other = await bench.client(await bench.listen());
  assertEquals(await other.ask({ execute: "query-name" }), { return: { name: "bench" } });
  let replies = 0;
  let rest = "";
  await until(() => {
    client.read();
    const lines = (rest + client.text).split("\r\n");
    rest = lines.pop() ?? "";
    client.text = "";
    replies += lines.length;
    for (const line of lines) assert(line.startsWith('{"return": [{"name"'));
    return replies >= sent;
  });
  assertEquals(replies, sent);
});

Deno.test("a client that leaves with work undone leaves the monitor to the next", async () => {
  await using bench = new MonitorBench();
  const path = await bench.listen();
  for (const parting of ['{"execute": "st', '{"execute": "query-status"}'.repeat(100), "\xff{["]) {
    {
      using client = await bench.client(path);
      client.send(parting);
    }
    using next = await bench.connect(path);
    assertEquals(await next.line(), GREETING);
    assertEquals(
      await next.ask({ execute: "query-status" }),
      error("Expecting capabilities negotiation with 'qmp_capabilities'", "CommandNotFound"),
    );
  }
});

Deno.test("requests of a client that only ends its sending are still answered", async () => {
  await using bench = new MonitorBench();
  using client = await bench.client(await bench.listen());
  client.send('{"execute": "stop"}{"execute": "query-status"}');
  endSending(client.fd);
  await client.expect(/"return": \{"status": "paused", "running": false\}\}\r\n/);
});

Deno.test("descriptors go to the request that they came with", async () => {
  const before = openDescriptors();
  {
    await using bench = new MonitorBench();
    using client = await bench.client(await bench.listen());
    const [reader, writer] = createPipe();
    using _reader = reader;
    client.send('{"execute": "getfd", "arguments": {"fdname": "one"}}', [reader.fd]);
    client.send('{"execute": "getfd", "arguments": {"fdname": "two"}}', [writer.fd]);
    client.send('{"execute": "getfd", "arguments": {"fdname": "three"}}');
    assertEquals(await client.message(), { return: {} });
    assertEquals(await client.message(), { return: {} });
    assertEquals(
      await client.message(),
      error("No file descriptor supplied via SCM_RIGHTS"),
    );
    writer[Symbol.dispose]();
    using one = bench.descriptors.takeNamed("one") ?? new Descriptor(-1);
    using two = bench.descriptors.takeNamed("two") ?? new Descriptor(-1);
    assertEquals(status(one.fd).kind, "pipe");
    assertEquals(status(two.fd).kind, "pipe");
    client.send('{"execute": "query-name"}', [one.fd]);
    await client.message();
    client.send('{"execute": "add-fd", "arguments": {"opaque": "left over"}}');
    const added = await client.message();
    assertEquals(Object.keys(added as object), ["return"]);
    const [set] = bench.descriptors.listSets();
    assertEquals(set?.members.map(({ opaque }) => opaque), ["left over"]);
    client.send('{"execute": "query-name"}', [one.fd]);
    await client.message();
  }
  assertEquals(openDescriptors(), before);
});

Deno.test("a pretty monitor writes one member a line", async () => {
  await using bench = new MonitorBench();
  using client = await bench.connect(await bench.listen({ mode: "control", pretty: true }));
  await client.expect(/\r\n/);
  client.send('{"execute": "qmp_capabilities"}');
  assertEquals(await client.expect(/\r\n/), '{\n    "return": {}\n}\r\n');
});

Deno.test("drained resolves once the client has been sent everything", async () => {
  await using bench = new MonitorBench();
  using client = await bench.client(await bench.listen());
  await bench.monitors.drained();
  client.send('{"execute": "query-qmp-schema"}'.repeat(20));
  await client.expect(/\r\n/);
  let drained = false;
  void bench.monitors.drained().then(() => drained = true);
  for (let reply = 1; reply < 20; reply++) await client.expect(/\r\n/);
  await until(() => drained);
});

Deno.test("requests can be held until the guest runs", async () => {
  await using bench = new MonitorBench();
  bench.monitors.hold();
  using client = await bench.connect(await bench.listen());
  assertEquals(await client.line(), GREETING);
  client.send('{"execute": "query-name", "id": 1}{"execute": "qmp_capabilities", "id": 2}');
  assertMatch(await client.line(), /^\{"id": 1, "error": .*Expecting capabilities negotiation/);
  await new Promise((resolve) => setTimeout(resolve, 20));
  client.read();
  assertEquals(client.text, "");
  bench.monitors.serve();
  assertEquals(await client.line(), '{"return": {}, "id": 2}');
});
