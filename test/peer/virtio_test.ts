/**
 * A guest that drives its disk or its network card goes between QEMU and molt, with requests under way and
 * the other virtio devices beside it. It compares all that it reads with what it wrote.
 */
import { assertEquals, assertGreater } from "@std/assert";
import { EchoPeer } from "../support/echo_peer.ts";
import { move, type Route, routes } from "../support/moves.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { FIRST_GSI, GuestLog, virtioMachine } from "../support/virtio_machine.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

/** There and back so often. */
const ROUNDS = 3;
const DISK_SIZE = 32 << 20;

/** Devices that the guest leaves alone; their state goes along. */
const others = [
  ...["-device", "virtio-rng-device,id=rng0"],
  ...["-device", "virtio-serial-device,id=serials,max_ports=4"],
  ...["-chardev", "null,id=port0", "-device", "virtconsole,chardev=port0"],
  ...["-device", "virtio-balloon-device,id=balloon0"],
];

/** A machine's options, and the counter that shows that its guest gets on. */
interface Guest {
  readonly log: GuestLog;
  readonly options: string[];
  readonly counter: string;
}

/** The guest goes to and fro; it has got on at each place. */
async function travel(
  { log, options, counter }: Guest,
  route: Route,
  directory: TemporaryDirectory,
): Promise<void> {
  let current = await VirtualMachine.start("qemu", options, { directory, name: "0" });
  try {
    await log.progress(counter, 100);
    for (let number = 1; number <= 2 * ROUNDS; number++) {
      await using before = current;
      const vmm = number % 2 === 1 ? "molt" : "qemu";
      current = await move(before, vmm, options, route, { directory, move: number });
      await log.progress(counter, 100);
    }
  } finally {
    await current[Symbol.asyncDispose]();
  }
}

/** Which queue features are used in a test. */
const drivers = [
  { legacy: false, append: `events=1 indirect=1 irq=1 gsi=${FIRST_GSI}` },
  { legacy: true, append: "" },
];

for (const route of routes.filter(({ name }) => ["unix", "mapped-ram"].includes(name))) {
  for (const { legacy, append } of drivers) {
    const kind = `${legacy ? "legacy" : "modern"}, ${route.name}`;

    Deno.test(`virtio-blk: ${2 * ROUNDS} moves between QEMU and molt under a guest that writes (${kind})`, async () => {
      using directory = new TemporaryDirectory();
      const image = directory.file("disk.img");
      Deno.writeFileSync(image, new Uint8Array(0));
      Deno.truncateSync(image, DISK_SIZE);
      const log = new GuestLog(directory.file("log"));
      const options = virtioMachine(log, {
        guest: "virtio_blk",
        legacy,
        append: `verify=1 depth=8 size=16384 span=16 ${append}`,
        devices: [
          ...["-drive", `if=none,id=d0,file=${image},format=raw`],
          ...["-device", "virtio-blk-device,drive=d0,id=disk0"],
          ...others,
        ],
      });
      await travel({ log, options, counter: "reads" }, route, directory);
    });

    Deno.test(`virtio-net: ${2 * ROUNDS} moves between QEMU and molt under a guest that talks (${kind})`, async () => {
      using directory = new TemporaryDirectory();
      const log = new GuestLog(directory.file("log"));
      await using peer = new EchoPeer(directory.file("echo"));
      const options = virtioMachine(log, {
        guest: "virtio_net",
        legacy,
        append: `verify=1 depth=4 size=1024 patience=1000 ${append}`,
        devices: [
          ...["-netdev", peer.netdev],
          ...["-device", "virtio-net-device,netdev=n0,id=net0"],
          ...others,
        ],
      });
      await travel({ log, options, counter: "replies" }, route, directory);
      // A connection for each place. What was on the wire at a move may be lost; it was sent again.
      assertEquals(peer.connections, 2 * ROUNDS + 1);
      const { replies = 0, lost = 0 } = log.verify();
      assertGreater(replies, 20 * lost, `lost ${lost}`);
    });
  }
}
