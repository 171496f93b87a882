import { assertEquals } from "@std/assert";
import * as z from "zod";
import { ArgumentError, parseArguments } from "../../../src/monitor/arguments.ts";
import { commands } from "../../../src/monitor/commands/index.ts";
import type { JsonObject } from "../../../src/json/value.ts";
import { integer, struct, wideInteger } from "../../../src/qapi/types.ts";
import { type Client, MonitorBench } from "./bench.ts";

function error(desc: string, errorClass = "GenericError") {
  return { error: { class: errorClass, desc } };
}

/** Sends a command and returns what came back. */
function ask(client: Client, execute: string, given?: JsonObject): Promise<unknown> {
  return client.ask({ execute, ...(given === undefined ? {} : { arguments: given }) });
}

Deno.test("argument errors name the argument as QEMU does", () => {
  const schema = struct({
    uri: z.string().optional(),
    mode: z.enum(["normal", "cpr-exec"]).optional(),
    list: z.array(struct({ name: z.string(), on: z.boolean() })).optional(),
    count: integer("uint8").optional(),
    id: integer().optional(),
    size: wideInteger("size").optional(),
    addr: z.discriminatedUnion("type", [
      struct({ type: z.literal("unix"), path: z.string() }),
      struct({ type: z.literal("inet"), host: z.string(), port: z.string() }),
    ]).optional(),
    number: z.number().optional(),
  });
  const cases: [JsonObject, string][] = [
    [{ uri: 1 }, "Invalid parameter type for 'uri', expected: string"],
    [{ x: 1 }, "Parameter 'x' is unexpected"],
    [{ mode: "bogus" }, "Parameter 'mode' does not accept value 'bogus'"],
    [{ mode: 1 }, "Invalid parameter type for 'mode', expected: string"],
    [{ list: {} }, "Invalid parameter type for 'list', expected: array"],
    [{ list: [1] }, "Invalid parameter type for 'list[0]', expected: object"],
    [{ list: [{ name: "a" }] }, "Parameter 'list[0].on' is missing"],
    [
      { list: [{ name: "a", on: 1 }] },
      "Invalid parameter type for 'list[0].on', expected: boolean",
    ],
    [{ list: [{ name: "a", on: true, z: 1 }] }, "Parameter 'list[0].z' is unexpected"],
    [{ count: "4" }, "Parameter 'count' expects uint64"],
    [{ count: 1.5 }, "Parameter 'count' expects uint64"],
    [{ count: 300 }, "Parameter 'count' expects uint8_t"],
    [{ count: -1 }, "Parameter 'count' expects uint8_t"],
    [{ id: "x" }, "Invalid parameter type for 'id', expected: integer"],
    [{ size: 2n ** 64n }, "Parameter 'size' expects uint64"],
    [{ addr: { type: "unix" } }, "Parameter 'addr.path' is missing"],
    [{ addr: { type: "bogus" } }, "Parameter 'type' does not accept value 'bogus'"],
    [{ addr: {} }, "Parameter 'addr.type' is missing"],
    [{ addr: { type: "unix", path: "a", foo: 1 } }, "Parameter 'addr.foo' is unexpected"],
    [{ addr: 5 }, "Invalid parameter type for 'addr', expected: object"],
    [{ number: "1" }, "Invalid parameter type for 'number', expected: number"],
  ];
  for (const [given, message] of cases) {
    let thrown: unknown;
    try {
      parseArguments(schema, given);
    } catch (error) {
      thrown = error;
    }
    assertEquals(thrown instanceof ArgumentError && thrown.message, message);
  }
  assertEquals(parseArguments(schema, { count: 255, size: 18446744073709551615n, number: 0.5 }), {
    count: 255,
    size: 18446744073709551615n,
    number: 0.5,
  });
});

/** Commands without effect and what they return on the bench's machine. */
const queries: [string, JsonObject | undefined, unknown][] = [
  ["query-version", undefined, {
    qemu: { major: 11, minor: 1, micro: 3 },
    package: "molt test",
  }],
  ["query-name", undefined, { name: "bench" }],
  ["query-target", undefined, { arch: "x86_64" }],
  ["query-kvm", undefined, { enabled: true, present: true }],
  ["query-accelerators", undefined, { enabled: "kvm", present: ["kvm"] }],
  ["query-current-machine", undefined, { "wakeup-suspend-support": false }],
  ["query-memory-size-summary", undefined, { "base-memory": 65536, "plugged-memory": 0 }],
  ["query-fdsets", undefined, []],
  ["qom-get", { path: "/machine", property: "acpi" }, "auto"],
  ["qom-get", { path: "/machine", property: "type" }, "microvm-machine"],
  ["qom-list", { path: "/machine" }, [
    { name: "type", type: "string" },
    { name: "acpi", type: "OnOffAuto" },
    { name: "peripheral", type: "child<container>" },
  ]],
  ["qom-list-get", { paths: ["/machine/peripheral"] }, [{
    properties: [
      { name: "type", type: "string", value: "container" },
      { name: "disk0", type: "child<virtio-blk-device>", value: "/machine/peripheral/disk0" },
    ],
  }]],
];

/** Commands that are refused, and how. */
const refusals: [string, JsonObject | undefined, string, string?][] = [
  ["system_wakeup", undefined, "wake-up from suspend is not supported by this guest"],
  ["query-hotpluggable-cpus", undefined, "machine does not support hot-plugging CPUs"],
  ["qom-get", { path: "/nope", property: "x" }, "Device '/nope' not found", "DeviceNotFound"],
  ["qom-get", { path: "/machine", property: "x" }, "Property 'microvm-machine.x' not found"],
  [
    "qom-set",
    { path: "/machine", property: "acpi", value: "off" },
    "Property 'microvm-machine.acpi' is not writable",
  ],
  ["device_add", { driver: "foo" }, "'foo' is not a valid device model name"],
  [
    "device_add",
    { driver: "virtio-blk-device", drive: "x" },
    "Bus 'virtio-mmio-bus' does not support hotplugging",
  ],
  ["device_del", { id: "nope" }, "Device 'nope' not found", "DeviceNotFound"],
  ["device_del", { id: "disk0" }, "Bus 'virtio-mmio-bus' does not support hotplugging"],
  ["remove-fd", { "fdset-id": 5 }, "File descriptor named 'fdset-id:5' not found"],
  [
    "remove-fd",
    { "fdset-id": 7, fd: 99 },
    "File descriptor named 'fdset-id:7, fd:99' not found",
  ],
  ["closefd", { fdname: "a" }, "File descriptor named 'a' not found"],
  ["add-fd", undefined, "No file descriptor supplied via SCM_RIGHTS"],
  ["chardev-remove", { id: "monitor0" }, "Chardev 'monitor0' is busy"],
  ["chardev-send-break", { id: "zz" }, "Chardev 'zz' not found"],
  ["ringbuf-read", { device: "monitor0", size: 1 }, "monitor0 is not a ringbuf device"],
  [
    "human-monitor-command",
    { "command-line": "info status", "cpu-index": 7 },
    "Parameter 'cpu-index' expects a CPU number",
  ],
];

Deno.test("queries return what the machine is", async () => {
  await using bench = new MonitorBench();
  using client = await bench.client(await bench.listen());
  for (const [name, given, expected] of queries) {
    assertEquals(await ask(client, name, given), { return: expected }, name);
  }
});

Deno.test("what cannot be done is refused in QEMU's words", async () => {
  await using bench = new MonitorBench();
  using client = await bench.client(await bench.listen());
  for (const [name, given, desc, errorClass] of refusals) {
    assertEquals(await ask(client, name, given), error(desc, errorClass), name);
  }
});

/** Queries of what the board cannot have. */
const alwaysRefused = ["query-hotpluggable-cpus", "query-vm-generation-id"];

Deno.test("every query returns what its declaration says", async () => {
  await using bench = new MonitorBench();
  using client = await bench.client(await bench.listen());
  for (const command of commands.values()) {
    const queried = /^(x-)?query-/.test(command.name) && command.returns !== undefined;
    if (!queried || alwaysRefused.includes(command.name)) continue;
    const reply = await ask(client, command.name);
    const checked = struct({ return: command.returns ?? z.never() }).safeParse(reply);
    assertEquals(checked.error?.issues ?? [], [], command.name);
  }
});

Deno.test("chardev-add makes devices of every kind that query-chardev-backends lists", async () => {
  await using bench = new MonitorBench();
  using client = await bench.client(await bench.listen());
  const path = bench.path("socket");
  const backends: [string, JsonObject][] = [
    ["null", {}],
    ["file", { out: bench.path("out"), append: true, logfile: bench.path("log") }],
    ["socket", { addr: { type: "unix", data: { path } } }],
    ["pty", {}],
    ["ringbuf", { size: 16 }],
    ["mux", { chardev: "test-null" }],
  ];
  for (const [type, data] of backends) {
    const reply = await ask(client, "chardev-add", { id: `test-${type}`, backend: { type, data } });
    if (type === "pty") {
      const pty = bench.chardevs.list().at(-1)?.filename.replace("pty:", "");
      assertEquals(reply, { return: { pty } });
    } else {
      assertEquals(reply, { return: {} }, type);
    }
  }
  const listed = bench.chardevs.list().map(({ label, filename }) => [label, filename]);
  assertEquals(listed.slice(1, 4), [
    ["test-null", "null"],
    ["test-file", "file"],
    ["test-socket", `disconnected:unix:${path},server=on`],
  ]);
  assertEquals(
    await ask(client, "chardev-add", { id: "test-null", backend: { type: "null", data: {} } }),
    error("Chardev with id 'test-null' already exists"),
  );
  assertEquals(
    await ask(client, "chardev-add", {
      id: "x",
      backend: { type: "file", data: { out: "/nonexistent/x" } },
    }),
    error("Failed to add chardev 'x': Could not open '/nonexistent/x': No such file or directory"),
  );
  assertEquals(
    await ask(client, "chardev-change", {
      id: "test-ringbuf",
      backend: { type: "null", data: {} },
    }),
    { return: {} },
  );
  assertEquals(await ask(client, "chardev-remove", { id: "test-ringbuf" }), { return: {} });
});

Deno.test("ringbufs are written and read as text or base64", async () => {
  await using bench = new MonitorBench();
  using client = await bench.client(await bench.listen());
  await bench.create({ id: "r", backend: "ringbuf", size: "16" });
  await ask(client, "ringbuf-write", { device: "r", data: "héllo" });
  await ask(client, "ringbuf-write", { device: "r", data: "AAEC", format: "base64" });
  assertEquals(await ask(client, "ringbuf-read", { device: "r", size: 6 }), { return: "héllo" });
  assertEquals(
    await ask(client, "ringbuf-read", { device: "r", size: 100, format: "base64" }),
    { return: "AAEC" },
  );
  assertEquals(
    await ask(client, "ringbuf-write", { device: "r", data: "A#", format: "base64" }),
    error("Base64 data contains invalid characters"),
  );
});

Deno.test("the machine is stopped, continued, reset, powered down and quit", async () => {
  await using bench = new MonitorBench();
  using client = await bench.client(await bench.listen());
  for (const name of ["system_reset", "system_powerdown", "inject-nmi", "quit"]) {
    assertEquals(await ask(client, name), { return: {} });
  }
  assertEquals(bench.calls, ["reset", "power down", "nmi", "quit"]);
});

Deno.test("what the machine does not have is answered, not unknown", async () => {
  await using bench = new MonitorBench();
  using client = await bench.client(await bench.listen());
  assertEquals(await ask(client, "query-jobs"), { return: [] });
  assertEquals(await ask(client, "query-vnc"), { return: { enabled: false } });
  assertEquals(
    await ask(client, "trace-event-get-state", { name: "foo" }),
    error('unknown event "foo"'),
  );
  assertEquals(await ask(client, "trace-event-get-state", { name: "foo*" }), { return: [] });
  assertEquals(await ask(client, "yank", { instances: [] }), { return: {} });
  assertEquals(
    await ask(client, "yank", { instances: [{ type: "migration" }] }),
    error("Instance not found", "DeviceNotFound"),
  );
});

Deno.test("set-action changes what happens when the guest ends", async () => {
  await using bench = new MonitorBench();
  using client = await bench.client(await bench.listen());
  assertEquals(await ask(client, "set-action", { shutdown: "pause" }), { return: {} });
  assertEquals(await ask(client, "set-action", { reboot: "reset" }), { return: {} });
  assertEquals(bench.calls, ['policy {"noShutdown":true}', 'policy {"noReboot":false}']);
  assertEquals(
    await ask(client, "set-action", { foo: "pause" }),
    error("Parameter 'foo' is unexpected"),
  );
  assertEquals(
    await ask(client, "watchdog-set-action", { action: "foo" }),
    error("Parameter 'action' does not accept value 'foo'"),
  );
});

Deno.test("memsave copies what a vCPU sees to a file", async () => {
  await using bench = new MonitorBench();
  using client = await bench.client(await bench.listen());
  const filename = bench.path("memory");
  const given = { val: 16, size: 4, filename };
  assertEquals(await ask(client, "memsave", given), { return: {} });
  assertEquals(Deno.readFileSync(filename), Uint8Array.of(16, 17, 18, 19));
  assertEquals(
    await ask(client, "memsave", { ...given, "cpu-index": 7 }),
    error("Parameter 'cpu-index' expects a CPU number"),
  );
});
