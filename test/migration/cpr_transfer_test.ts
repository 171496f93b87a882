/** A guest goes from one molt to the next by cpr-transfer, as often as asked, and is never lost. */
import { assertEquals, assertLessOrEqual, assertRejects, assertStringIncludes } from "@std/assert";
import { awaitMigration, type MigrationChannel } from "../../src/qmp_client/mod.ts";
import { patience } from "../support/patience.ts";
import { mappedMemory, resources } from "../support/processes.ts";
import { TransferredMachine, unixChannels } from "../support/transferred_machine.ts";

/** Handovers in a row. The environment variable is for long runs. */
const TRANSFERS = Number(Deno.env.get("CPR_TRANSFERS") ?? 60);
const ALTERNATIONS = 10;
/** The runtime keeps some memory for itself; every process is a new one. */
const GROWTH_LIMIT = 1.25;

Deno.test(`${TRANSFERS} handovers in a row: same memory, no output lost, nothing grows`, async () => {
  await using machine = await TransferredMachine.start();
  const memory = mappedMemory(machine.vm.pid);
  let before: ReturnType<typeof resources> | undefined;
  let next = await machine.destination();
  for (let transfer = 1; transfer <= TRANSFERS; transfer++) {
    await machine.transfer(next);
    if (transfer < TRANSFERS) next = await machine.destination();
    // While the next one started.
    await machine.log.beats(1);
    if (transfer === 5) before = resources(machine.vm.pid);
  }
  assertEquals(mappedMemory(machine.vm.pid), memory, "the same memory");
  const after = resources(machine.vm.pid);
  assertEquals(
    after.descriptors,
    before?.descriptors,
    "as many descriptors as after five handovers",
  );
  assertLessOrEqual(after.residentBytes, GROWTH_LIMIT * (before?.residentBytes ?? 0));
  const { generation } = await machine.vm.qmp.execute("x-query-update");
  assertEquals(generation, TRANSFERS);
});

Deno.test("cpr-transfer and cpr-exec in turns", async () => {
  await using machine = await TransferredMachine.start();
  const command = machine.vm.command;
  const memory = mappedMemory(machine.vm.pid);
  for (let round = 0; round < ALTERNATIONS; round++) {
    const next = await machine.destination();
    await machine.transfer(next);
    await machine.log.beats(1);
    const { vm } = machine;
    const { qmp } = vm;
    const own = ["-qmp", `unix:${vm.socket},server=on,wait=off`];
    const successor = command.filter((word, i) => word !== "-qmp" && command[i - 1] !== "-qmp");
    await qmp.execute("migrate-set-parameters", {
      "mode": "cpr-exec",
      "cpr-exec-command": [...successor, ...own],
    });
    await qmp.execute("migrate", {});
    await qmp.closed;
    await vm.connect();
    await machine.log.beats(2);
    assertEquals((await vm.qmp.execute("query-status")).status, "running");
    const { generation, pid } = await vm.qmp.execute("x-query-update");
    assertEquals([generation, pid], [2 * (round + 1), vm.pid]);
    assertEquals(mappedMemory(vm.pid), memory);
  }
});

Deno.test("the destination answers before the source migrates, and says what it waits for", async () => {
  await using machine = await TransferredMachine.start();
  const next = await machine.destination();
  assertEquals(await next.vm.qmp.execute("query-status"), {
    status: "inmigrate",
    running: false,
  });
  const information = await next.vm.qmp.executeUntyped("query-migrate");
  const path = JSON.stringify(next.channels[1].addr).match(/"path":"([^"]+)"/)?.[1];
  assertEquals(information, {
    "socket-address": [{ type: "unix", path }],
    "x-waiting-for": "the CPR state of a source",
  });
  await machine.transfer(next);
  await machine.log.beats(2);
});

Deno.test("-incoming defer: the main channel is opened when somebody says where", async () => {
  await using machine = await TransferredMachine.start();
  const next = await machine.destination({ defer: true });
  await machine.migrate(next);
  await machine.log.beats(2);
  assertEquals((await machine.vm.qmp.execute("query-migrate")).status, "setup");
  const [main] = next.channels;
  await next.vm.qmp.execute("migrate-incoming", { channels: [main] });
  await machine.arrive(next);
  await machine.log.beats(2);
});

/** Waits until the migration of the process that has the guest has failed; returns the reason. */
async function failure({ vm, log }: TransferredMachine): Promise<string> {
  const error = await assertRejects(() => awaitMigration(vm.qmp, { signal: patience() }), Error);
  assertEquals((await vm.qmp.execute("query-status")).status, "running");
  await log.beats(2);
  return error.message;
}

Deno.test("-qtest is served by a destination, for each guest that comes", async () => {
  await using machine = await TransferredMachine.start();
  const path = machine.directory.file("qtest");
  const more = ["-qtest", `unix:${path},server=on,wait=off`, "-qtest-log", "none"];
  const destination = await machine.destination({ more });
  // The first guest does not come: its main channel leads nowhere.
  const [, cpr] = destination.channels;
  const [nowhere] = unixChannels(machine.directory.file("nowhere"), "");
  await machine.migrate({ channels: [nowhere, cpr] });
  await assertRejects(() => awaitMigration(machine.vm.qmp, { signal: patience() }));
  await machine.transfer(destination);

  using connection = await Deno.connect({ transport: "unix", path });
  await connection.write(new TextEncoder().encode("endianness\n"));
  const reply = new Uint8Array(64);
  const count = await connection.read(reply) ?? 0;
  assertEquals(new TextDecoder().decode(reply.subarray(0, count)), "OK little\n");
  await machine.log.beats(2);
});

Deno.test("a handover that was cancelled is tried again with the same destination", async () => {
  await using machine = await TransferredMachine.start();
  const next = await machine.destination({ defer: true });
  for (let attempt = 1; attempt <= 3; attempt++) {
    await machine.migrate(next);
    await machine.vm.qmp.execute("migrate_cancel");
    await assertRejects(() => awaitMigration(machine.vm.qmp, { signal: patience() }));
    assertEquals((await machine.vm.qmp.execute("query-migrate")).status, "cancelled");
    await machine.log.beats(2);
    assertEquals((await next.vm.qmp.execute("query-status")).status, "inmigrate");
  }
  await machine.migrate(next);
  const [main] = next.channels;
  await next.vm.qmp.execute("migrate-incoming", { channels: [main] });
  await machine.arrive(next);
  await machine.log.beats(2);
});

Deno.test("a handover whose destination died is tried again with another one", async () => {
  await using machine = await TransferredMachine.start();
  const first = await machine.destination({ defer: true });
  await machine.migrate(first);
  await machine.log.beats(1);
  await first.vm.kill();
  await failure(machine);
  // Nobody listens any more.
  await machine.migrate(first);
  assertStringIncludes(await failure(machine), "cpr");
  await machine.transfer(await machine.destination());
  await machine.log.beats(2);
});

Deno.test("a handover whose main channel leads nowhere is tried again with the same destination", async () => {
  await using machine = await TransferredMachine.start();
  const next = await machine.destination();
  const [, cpr] = next.channels;
  const [nowhere] = unixChannels(machine.directory.file("nowhere"), "");
  await machine.migrate({ channels: [nowhere, cpr] });
  assertStringIncludes(await failure(machine), "nowhere");
  await machine.transfer(next);
  await machine.log.beats(2);
});

Deno.test("what cannot be is refused at once, by name, and the guest runs on", async () => {
  await using machine = await TransferredMachine.start();
  const { qmp } = machine.vm;
  const path = machine.directory.file("nowhere");
  const [main, cpr] = unixChannels(`${path}.main`, `${path}.cpr`);
  const file: MigrationChannel = {
    "channel-type": "main",
    "addr": { transport: "file", filename: path, offset: 0 },
  };
  const tcp = (port: string): MigrationChannel => ({
    "channel-type": "main",
    "addr": { transport: "socket", type: "inet", host: "127.0.0.1", port },
  });
  const cprOverTcp = { ...tcp("1"), "channel-type": "cpr" } as const;
  await qmp.execute("migrate-set-parameters", { mode: "cpr-transfer" });
  const refuse = async (channels: MigrationChannel[], text: string) => {
    await assertRejects(() => qmp.execute("migrate", { channels }), Error, text);
    assertEquals((await qmp.execute("query-status")).status, "running");
  };
  await refuse(
    [file, cpr],
    "Migration requires streamable transport (eg unix): the parameter 'mode' is 'cpr-transfer'",
  );
  await refuse([tcp("0"), cpr], "port");
  await refuse([main], "missing 'cpr' migration channel");
  await refuse([cpr], "Channel list has no main entry");
  await refuse([main, cpr, cpr], "Channel list has more than one cpr entry");
  await refuse([main, cprOverTcp], "bad cpr channel address; must be unix");
  await assertRejects(
    () => qmp.execute("migrate", { uri: `unix:${path}` }),
    Error,
    "missing 'cpr' migration channel",
  );
  for (const capability of ["postcopy-ram", "background-snapshot", "x-colo"]) {
    await assertRejects(
      () =>
        qmp.executeUntyped("migrate-set-capabilities", {
          capabilities: [{ capability, state: true }],
        }),
      Error,
      capability,
    );
  }
  await machine.log.beats(2);
});

Deno.test("a guest whose memory is private is refused, naming the memory and what it needs", async () => {
  await using machine = await TransferredMachine.start({});
  const channels = unixChannels("/no/where", "/no/where/else");
  await machine.vm.qmp.execute("migrate-set-parameters", { mode: "cpr-transfer" });
  await assertRejects(
    () => machine.vm.qmp.execute("migrate", { channels: [...channels] }),
    Error,
    "share=on is required for memory-backend objects, and aux-ram-share=on is required",
  );
  await machine.log.beats(2);
});
