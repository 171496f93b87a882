/**
 * 64 of everything that waits for somebody else: disks, character devices, network backends, each of the
 * latter with a client. None holds a thread or a place that the others need, before and after an update.
 */
import { UpdatedMachine } from "../support/updated_machine.ts";
import { until } from "../support/patience.ts";

const COUNT = 64;
/** The board has transports for 24 devices; two of them get ports for the character devices. */
const DISKS_IN_USE = 16;
const CARDS_IN_USE = 6;
const PORTS = 30;

const numbers = Array.from({ length: COUNT }, (_, index) => index);

/** A client for each, all at once. */
async function connectToAll(paths: readonly string[]): Promise<DisposableStack> {
  const clients = new DisposableStack();
  const connections = await Promise.all(
    paths.map((path) => Deno.connect({ transport: "unix", path })),
  );
  for (const connection of connections) clients.use(connection);
  return clients;
}

Deno.test(`${COUNT} disks, character devices and network backends: all serve, also after an update`, async () => {
  let paths: string[] = [];
  await using machine = await UpdatedMachine.start(({ directory }) => {
    const file = (kind: string) => (number: number) => directory.file(`${kind}${number}`);
    const disks = numbers.map(file("disk"));
    const consoles = numbers.map(file("console"));
    const networks = numbers.map(file("net"));
    paths = [...consoles, ...networks];
    for (const disk of disks) Deno.writeFileSync(disk, new Uint8Array(65536));
    const each = (
      list: readonly string[],
      options: (path: string, number: number) => readonly string[],
    ) => list.flatMap(options);
    return [
      ...["-machine", "acpi=on"],
      ...each(disks, (path, number) => [
        "-blockdev",
        `driver=raw,node-name=disk${number},file.driver=file,file.filename=${path}`,
      ]),
      ...each(disks.slice(0, DISKS_IN_USE), (_, number) => [
        ...["-device", `virtio-blk-device,drive=disk${number}`],
      ]),
      ...each(networks, (path, number) => [
        ...["-netdev", `stream,id=net${number},server=on,addr.type=unix,addr.path=${path}`],
      ]),
      ...each(networks.slice(0, CARDS_IN_USE), (_, number) => [
        ...["-device", `virtio-net-device,netdev=net${number}`],
      ]),
      ...each(consoles, (path, number) => [
        ...["-chardev", `socket,id=console${number},path=${path},server=on,wait=off`],
      ]),
      ...["-device", "virtio-serial-device,id=ports0", "-device", "virtio-serial-device,id=ports1"],
      ...each(consoles.slice(0, 2 * PORTS), (_, number) => {
        const bus = `ports${Math.floor(number / PORTS)}.0`;
        return [
          "-device",
          `virtserialport,bus=${bus},chardev=console${number},name=port${number}`,
        ];
      }),
    ];
  });
  const { vm } = machine;
  const serveAll = async () => {
    using _clients = await connectToAll(paths);
    await until("all character devices have their client", async () => {
      const chardevs = await vm.qmp.execute("query-chardev");
      return chardevs.filter(({ label, filename }) =>
        label.startsWith("console") && !filename.startsWith("disconnected")
      ).length === COUNT;
    });
    await vm.qmp.execute("stop");
    await vm.qmp.execute("cont");
    await machine.checkRunning();
  };
  await serveAll();
  await machine.update();
  await serveAll();
});
