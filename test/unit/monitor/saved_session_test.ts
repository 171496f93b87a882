import { assertEquals } from "@std/assert";
import type { MonitorOptions } from "../../../src/monitor/monitors.ts";
import { duplicate } from "../../../src/native/descriptor.ts";
import { Client, MonitorBench } from "./bench.ts";

/** A bench whose monitor goes on with what `before` leaves: descriptors, and all else as JSON. */
async function succeed(before: MonitorBench, options: MonitorOptions): Promise<MonitorBench> {
  await before.monitors.suspend(true);
  const after = new MonitorBench({ takesOver: true });
  const saved: unknown = JSON.parse(JSON.stringify(before.monitors.save()));
  const devices: unknown = JSON.parse(JSON.stringify(before.chardevs.save()));
  for (
    const { name, id, fd } of [...before.chardevs.descriptors(), ...before.monitors.descriptors()]
  ) {
    after.left.set(`${name} ${id}`, duplicate(fd));
  }
  // The process before ends here: it sends nothing more.
  before.monitors[Symbol.dispose]();
  await create(after, before.path("monitor"));
  after.monitors.add(after.chardevs.port("m"), options);
  after.monitors.restore(saved, after.adopt);
  after.chardevs.restore(devices);
  after.chardevs.begin();
  after.monitors.begin();
  return after;
}

async function create(bench: MonitorBench, path: string): Promise<void> {
  await bench.create({ id: "m", backend: "socket", path, server: "on", wait: "off", cpr: "on" });
}

async function begin(options: MonitorOptions): Promise<{ bench: MonitorBench; client: Client }> {
  const bench = new MonitorBench();
  await create(bench, bench.path("monitor"));
  bench.monitors.add(bench.chardevs.port("m"), options);
  return { bench, client: await bench.connect(bench.path("monitor")) };
}

const control: MonitorOptions = { mode: "control", pretty: false };
const readline: MonitorOptions = { mode: "readline", pretty: false };

Deno.test("a QMP session goes on in a successor: negotiated, half a request, no second greeting", async () => {
  const { bench, client } = await begin(control);
  await using before = bench;
  using _client = client;
  await client.message();
  await client.ask({ execute: "qmp_capabilities", arguments: { enable: ["oob"] } });
  client.send('{"execute": "query-name", "id": 1} {"execute": "query-na');
  assertEquals(await client.message(), { return: { name: "bench" }, id: 1 });
  await using after = await succeed(before, control);
  client.send('me", "id": 2}{"exec-oob": "query-name", "id": 3}');
  assertEquals(await client.message(), {
    id: 3,
    error: { class: "GenericError", desc: "The command query-name does not support OOB" },
  });
  assertEquals(await client.message(), { return: { name: "bench" }, id: 2 });
  after.events.emit({ name: "RESUME" });
  const event = await client.message() as { event: string };
  assertEquals(event.event, "RESUME");
});

Deno.test("a QMP session that had not negotiated has not in a successor", async () => {
  const { bench, client } = await begin(control);
  await using before = bench;
  using _client = client;
  await client.message();
  await using _after = await succeed(before, control);
  assertEquals(await client.ask({ execute: "query-name" }), {
    error: {
      class: "CommandNotFound",
      desc: "Expecting capabilities negotiation with 'qmp_capabilities'",
    },
  });
});

Deno.test("replies that the client has not read reach it from the successor, once and in order", async () => {
  const { bench, client } = await begin(control);
  await using before = bench;
  using _client = client;
  await client.message();
  await client.ask({ execute: "qmp_capabilities" });
  const request = '{"execute": "query-qmp-schema", "id": 1}';
  client.send(request.repeat(30) + '{"execute": "query-name", "id": 2}');
  await client.expect(/\r\n/);
  // The monitor stops reading once the replies fill the socket.
  let replies = 1;
  await using after = await succeed(before, control);
  for (; replies < 30; replies++) await client.expect(/\r\n/);
  assertEquals(await client.message(), { return: { name: "bench" }, id: 2 });
  await after.monitors.drained();
});

Deno.test("a human monitor goes on in a successor with its line and history", async () => {
  const { bench, client } = await begin(readline);
  await using before = bench;
  using _client = client;
  await client.expect(/\(qemu\) /);
  client.send("info name\ninfo st");
  await client.expect(/info st$/);
  await using _after = await succeed(before, readline);
  client.send("atus\n");
  assertEquals(await client.expect(/\(qemu\) /), "atus\r\nVM status: running\r\n(qemu) ");
  client.send("\x1b[A\x1b[A\n");
  assertEquals((await client.expect(/bench/)).includes("info name"), true);
});

Deno.test("sessions on devices that do not survive are not saved", async () => {
  await using bench = new MonitorBench();
  using client = await bench.connect(await bench.listen());
  await client.message();
  assertEquals(bench.monitors.save(), []);
});
