/** What monitors show of a running machine's disks, network cards and balloon, and what they do to them. */
import { assertEquals, assertGreater, assertRejects } from "@std/assert";
import { EchoPeer } from "../support/echo_peer.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { GuestLog, virtioMachine } from "../support/virtio_machine.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

Deno.test("query-block and its like show the disks at work", async () => {
  using directory = new TemporaryDirectory();
  const image = directory.file("disk.img");
  Deno.writeFileSync(image, new Uint8Array(16 << 20));
  const log = new GuestLog(directory.file("log"));
  const options = virtioMachine(log, {
    guest: "virtio_blk",
    append: "verify=1 depth=2 span=8",
    devices: [
      ...["-drive", `if=none,id=d0,file=${image},format=raw,cache=writethrough`],
      ...["-device", "virtio-blk-device,drive=d0,id=disk0"],
      ...["-blockdev", "null-co,node-name=empty,size=1048576,read-only=on"],
      ...["-device", "virtio-blk-device,drive=empty"],
    ],
  });
  await using vm = await VirtualMachine.start("molt", options, { directory });
  await log.progress("reads", 10);

  const [disk, empty, ...rest] = await vm.qmp.execute("query-block");
  assertEquals(rest, []);
  assertEquals(disk?.["device"], "d0");
  assertEquals(disk?.["qdev"], "disk0");
  assertEquals(disk?.["io-status"], "ok");
  const inserted = disk?.["inserted"];
  assertEquals([inserted?.drv, inserted?.file, inserted?.ro], ["raw", image, false]);
  assertEquals(inserted?.cache, { writeback: false, direct: false, "no-flush": false });
  assertEquals(inserted?.image["virtual-size"], 16 << 20);
  assertEquals(empty?.["device"], "");
  assertEquals(empty?.["qdev"], "/machine/peripheral-anon/device[0]");
  assertEquals([empty?.["inserted"]?.drv, empty?.["inserted"]?.ro], ["null-co", true]);

  const nodes = await vm.qmp.execute("query-named-block-nodes");
  assertEquals(nodes.map(({ drv }) => drv), ["raw", "file", "null-co"]);
  assertEquals(nodes[0]?.children, [{ child: "file", "node-name": nodes[1]?.["node-name"] }]);

  const [statistics] = await vm.qmp.execute("query-blockstats");
  assertGreater(statistics?.stats.rd_operations ?? 0, 0);
  assertEquals(statistics?.stats.wr_bytes, (statistics?.stats.wr_operations ?? 0) * 4096);
  assertEquals(statistics?.stats.failed_wr_operations, 0);
});

Deno.test("query-rx-filter, set_link: a cable is pulled and plugged in again", async () => {
  using directory = new TemporaryDirectory();
  const log = new GuestLog(directory.file("log"));
  await using peer = new EchoPeer(directory.file("echo"));
  const options = virtioMachine(log, {
    guest: "virtio_net",
    append: "verify=1",
    devices: [
      ...["-netdev", peer.netdev],
      ...["-device", "virtio-net-device,netdev=n0,id=net0,mac=52:54:00:aa:bb:cc"],
      ...["-device", "virtio-balloon-device"],
    ],
  });
  await using vm = await VirtualMachine.start("molt", options, { directory });
  await log.progress("replies", 10);
  const [filter] = await vm.qmp.execute("query-rx-filter", { name: "net0" });
  assertEquals(filter?.["main-mac"], "52:54:00:aa:bb:cc");
  assertEquals([filter?.promiscuous, filter?.vlan], [true, "all"]);
  const text = await vm.qmp.execute("human-monitor-command", { "command-line": "info network" });
  assertEquals(
    text,
    "net0: index=0,type=nic,model=virtio-net-device,macaddr=52:54:00:aa:bb:cc\r\n" +
      ` \\ n0: index=0,type=stream,unix:${peer.path}\r\n`,
  );

  await vm.qmp.execute("set_link", { name: "n0", up: false });
  await log.progress("lost", 2);
  await vm.qmp.execute("set_link", { name: "net0", up: true });
  await log.progress("replies", 10);
  assertEquals(peer.connections, 1);
  await assertRejects(
    () => vm.qmp.execute("set_link", { name: "none", up: true }),
    Error,
    "Device 'none' not found",
  );
  assertEquals(await vm.qmp.execute("query-balloon"), { actual: 64 << 20 });
});
