/**
 * Live updates under a guest that drives its disk or its network card: it compares all that it reads with
 * what it wrote, and its connection is the same one afterwards.
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { awaitMigration, type MigrationChannel } from "../../src/qmp_client/mod.ts";
import { EchoPeer } from "../support/echo_peer.ts";
import { patience } from "../support/patience.ts";
import { commandOf } from "../support/programs.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { FIRST_GSI, GuestLog, virtioMachine } from "../support/virtio_machine.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

/** Ten in a row and more are the rig's. */
const UPDATES = 3;
const DISK_SIZE = 32 << 20;
const irq = `events=1 indirect=1 irq=1 gsi=${FIRST_GSI}`;

/** A guest under update. */
interface Guest {
  readonly directory: TemporaryDirectory;
  readonly log: GuestLog;
  readonly options: string[];
  readonly counter: string;
}

/** The same process runs another program. The guest waits meanwhile, or is with an interim monitor. */
async function updateByExec(
  { directory, log, options, counter }: Guest,
  interimMonitor: boolean,
): Promise<void> {
  const uri = interimMonitor ? undefined : `file:${directory.file("state")}`;
  await using vm = await VirtualMachine.start("molt", options, { directory });
  const qmp = ["-qmp", `unix:${vm.socket},server=on,wait=off`];
  await log.progress(counter, 100);
  for (let update = 0; update < UPDATES; update++) {
    await vm.qmp.execute("migrate-set-parameters", {
      "mode": "cpr-exec",
      "cpr-exec-command": [
        ...commandOf("molt"),
        ...options,
        ...qmp,
        ...(uri === undefined ? [] : ["-incoming", uri]),
      ],
    });
    await vm.qmp.executeUntyped("migrate", uri === undefined ? {} : { uri });
    await vm.qmp.closed;
    await vm.connect();
    await log.progress(counter, 100);
    assertEquals((await vm.qmp.execute("query-status")).status, "running");
  }
}

function transferChannels(directory: TemporaryDirectory): MigrationChannel[] {
  return (["main", "cpr"] as const).map((type) => ({
    "channel-type": type,
    "addr": { transport: "socket", type: "unix", path: directory.file(type) },
  }));
}

function incoming(channels: readonly MigrationChannel[]): string[] {
  return channels.flatMap((channel) => ["-incoming", JSON.stringify(channel)]);
}

/** Another process takes over. */
async function updateByTransfer({ directory, log, options, counter }: Guest): Promise<void> {
  const channels = transferChannels(directory);
  let current = await VirtualMachine.start("molt", options, { directory, name: "0" });
  try {
    await log.progress(counter, 100);
    for (let update = 1; update <= UPDATES; update++) {
      const next = await VirtualMachine.start("molt", [...options, ...incoming(channels)], {
        directory,
        name: `${update}`,
      });
      await using source = current;
      current = next;
      await source.qmp.execute("migrate-set-parameters", { mode: "cpr-transfer" });
      await source.qmp.execute("migrate", { channels });
      await awaitMigration(source.qmp, { signal: patience() });
      await awaitMigration(next.qmp, { signal: patience() });
      await log.progress(counter, 100);
      assertEquals((await source.qmp.execute("query-status")).status, "postmigrate");
      assertEquals((await next.qmp.execute("query-status")).status, "running");
      await source.kill();
      for (const type of ["main", "cpr"]) await Deno.remove(directory.file(type)).catch(() => {});
    }
  } finally {
    await current[Symbol.asyncDispose]();
  }
}

/** A successor that cannot take the guest over: it goes on where it is, disk and network with it. */
async function failToUpdate({ directory, log, options, counter }: Guest): Promise<void> {
  await using vm = await VirtualMachine.start("molt", options, { directory });
  await log.progress(counter, 100);
  for (let update = 0; update < 2; update++) {
    const state = directory.file("state");
    await vm.qmp.execute("migrate-set-parameters", {
      "mode": "cpr-exec",
      "cpr-exec-command": [directory.file("missing"), "-incoming", `file:${state}`],
    });
    await vm.qmp.execute("migrate", { uri: `file:${state}` });
    const signal = patience();
    while ((await vm.qmp.execute("query-migrate")).status !== "failed") signal.throwIfAborted();
    await log.progress(counter, 100);
    assertEquals((await vm.qmp.execute("query-status")).status, "running");
  }
}

/** A successor with other registers takes descriptors over, and then cannot take the device's state. */
async function failToTransfer({ directory, log, options, counter }: Guest): Promise<void> {
  const channels = transferChannels(directory);
  const other = options.map((option) =>
    option.startsWith("virtio-mmio.force-legacy=")
      ? option.endsWith("=on") ? option.replace("=on", "=off") : option.replace("=off", "=on")
      : option
  );
  await using source = await VirtualMachine.start("molt", options, { directory, name: "0" });
  await log.progress(counter, 100);
  for (let attempt = 1; attempt <= 2; attempt++) {
    await using target = await VirtualMachine.start("molt", [...other, ...incoming(channels)], {
      directory,
      name: `${attempt}`,
    });
    await source.qmp.execute("migrate-set-parameters", { mode: "cpr-transfer" });
    await source.qmp.execute("migrate", { channels });
    const signal = patience();
    while ((await source.qmp.execute("query-migrate")).status !== "failed") signal.throwIfAborted();
    await log.progress(counter, 100);
    assertEquals((await source.qmp.execute("query-status")).status, "running");
    // The successor says why, and would try again.
    const { "error-desc": reason } = await target.qmp.execute("query-migrate");
    assertStringIncludes(reason ?? "", "force-legacy");
    await target.kill();
    for (const type of ["main", "cpr"]) await Deno.remove(directory.file(type)).catch(() => {});
  }
}

const ways = {
  "cpr-exec": (guest: Guest) => updateByExec(guest, false),
  "cpr-exec with an interim monitor": (guest: Guest) => updateByExec(guest, true),
  "cpr-transfer": updateByTransfer,
  "an update that fails": failToUpdate,
  "a transfer that fails": failToTransfer,
};

for (const [way, update] of Object.entries(ways)) {
  for (const legacy of [false, true]) {
    const kind = `${way}, ${legacy ? "legacy" : "modern"}`;
    const append = legacy ? "" : irq;

    Deno.test(`${kind}: a guest that writes to its disk`, async () => {
      using directory = new TemporaryDirectory();
      const image = directory.file("disk.img");
      Deno.writeFileSync(image, new Uint8Array(0));
      Deno.truncateSync(image, DISK_SIZE);
      const log = new GuestLog(directory.file("log"));
      const options = virtioMachine(log, {
        guest: "virtio_blk",
        legacy,
        shared: true,
        append: `verify=1 depth=8 size=16384 span=16 ${append}`,
        devices: [
          ...["-drive", `if=none,id=d0,file=${image},format=raw`],
          ...["-device", "virtio-blk-device,drive=d0,id=disk0"],
        ],
      });
      await update({ directory, log, options, counter: "reads" });
    });

    Deno.test(`${kind}: a guest that talks to the network`, async () => {
      using directory = new TemporaryDirectory();
      const log = new GuestLog(directory.file("log"));
      await using peer = new EchoPeer(directory.file("echo"));
      const options = virtioMachine(log, {
        guest: "virtio_net",
        legacy,
        shared: true,
        // So patient that only a frame that is lost is sent again.
        append: `verify=1 depth=4 size=1024 patience=20000 ${append}`,
        devices: [
          ...["-netdev", peer.netdev],
          ...["-device", "virtio-net-device,netdev=n0,id=net0"],
        ],
      });
      await update({ directory, log, options, counter: "replies" });
      // The connection goes over to the successor: the peer has noticed nothing, no frame is lost.
      assertEquals([peer.connections, log.verify()["lost"]], [1, 0]);
    });
  }
}
