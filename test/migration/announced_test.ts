/**
 * Where a guest's network cards are is announced by RARP: after it came from elsewhere, and when a monitor
 * asks for it. A live update that keeps the connections has nothing to announce.
 */
import { assert, assertEquals } from "@std/assert";
import { awaitMigration } from "../../src/qmp_client/mod.ts";
import { EchoPeer } from "../support/echo_peer.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { patience, until } from "../support/patience.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

const ROUNDS = 5;
const addresses = ["52:54:00:aa:00:01", "52:54:00:aa:00:02"] as const;
const quick = { initial: 10, max: 20, step: 5 };

/** A heartbeat guest's options with a card to each peer. */
function machine(directory: TemporaryDirectory, peers: readonly EchoPeer[]): string[] {
  return [
    ...heartbeatMachine(new HeartbeatLog(directory.file("log")), {
      shared: "memfd",
      append: "memory=1 rate=20",
    }),
    ...peers.flatMap(({ path }, i) => [
      "-netdev",
      `stream,id=n${i},server=off,addr.type=unix,addr.path=${path}`,
      "-device",
      `virtio-net-device,id=card${i},netdev=n${i},mac=${addresses[i]}`,
    ]),
  ];
}

async function announcements(peer: EchoPeer, count: number): Promise<void> {
  await until(`${count} announcements`, () => peer.announced.length >= count);
}

Deno.test("a restored guest's cards are announced, also when it is paused first", async () => {
  using directory = new TemporaryDirectory();
  await using first = new EchoPeer(directory.file("net0"));
  await using second = new EchoPeer(directory.file("net1"));
  const options = machine(directory, [first, second]);
  const uri = `file:${directory.file("state")}`;
  {
    await using vm = await VirtualMachine.start("molt", options, { directory });
    // However slow this machine is: the guest is stopped after the first pass.
    await vm.qmp.execute("migrate-set-parameters", { "downtime-limit": 1_000_000 });
    await vm.qmp.execute("migrate", { uri });
    await awaitMigration(vm.qmp, { signal: patience() });
    await vm.quit();
  }
  assertEquals([first.announced, second.announced], [[], []]);
  {
    await using _vm = await VirtualMachine.start("molt", [...options, "-incoming", uri], {
      directory,
      name: "restored",
    });
    await announcements(first, ROUNDS);
    await announcements(second, ROUNDS);
  }
  assertEquals(first.announced, new Array(ROUNDS).fill(addresses[0]));
  assertEquals(second.announced, new Array(ROUNDS).fill(addresses[1]));

  await using paused = await VirtualMachine.start("molt", [...options, "-S", "-incoming", uri], {
    directory,
    name: "paused",
  });
  await awaitMigration(paused.qmp, { signal: patience() });
  // One announcement that was asked for is all that comes.
  await paused.qmp.executeUntyped("announce-self", { ...quick, rounds: 1 });
  await announcements(first, ROUNDS + 1);
  assertEquals(first.announced.length, ROUNDS + 1);
  await paused.qmp.execute("cont");
  await announcements(first, 2 * ROUNDS + 1);
});

Deno.test("announce-self: chosen cards, rounds, and an end by the announcement's name", async () => {
  using directory = new TemporaryDirectory();
  await using first = new EchoPeer(directory.file("net0"));
  await using second = new EchoPeer(directory.file("net1"));
  const options = machine(directory, [first, second]);
  await using vm = await VirtualMachine.start("molt", options, { directory });
  await vm.qmp.executeUntyped("announce-self", { ...quick, rounds: 3, interfaces: ["card1"] });
  await announcements(second, 3);
  assertEquals(first.announced, []);

  const endless = { initial: 20, max: 20, step: 1, rounds: 1_000_000, id: "long" };
  await vm.qmp.executeUntyped("announce-self", endless);
  await announcements(first, 4);
  await vm.qmp.executeUntyped("announce-self", { ...endless, rounds: 0 });
  const ended = [first.announced.length, second.announced.length] as const;
  const text = { "command-line": "announce_self card0" };
  await vm.qmp.executeUntyped("human-monitor-command", text);
  await announcements(first, ended[0] + ROUNDS);
  // One frame may have been on its way; the five rounds took long enough for dozens.
  assert(second.announced.length <= ended[1] + 1, "what has ended sends nothing more");
});

Deno.test("a live update that keeps the cards' connections announces nothing", async () => {
  using directory = new TemporaryDirectory();
  await using peer = new EchoPeer(directory.file("net0"));
  const options = machine(directory, [peer]);
  await using vm = await VirtualMachine.start("molt", options, { directory });
  await vm.qmp.execute("migrate-set-parameters", {
    "mode": "cpr-exec",
    "cpr-exec-command": [...vm.command],
  });
  await vm.qmp.executeUntyped("migrate", {});
  await vm.qmp.closed;
  await vm.connect();
  await vm.qmp.executeUntyped("announce-self", { ...quick, rounds: 1 });
  await announcements(peer, 1);
  assertEquals([peer.announced.length, peer.connections], [1, 1]);
});
