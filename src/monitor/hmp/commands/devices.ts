/** Disks, networks and the balloon: what `info` shows of them, and what can be asked of them. */
import { announceParameters } from "../../../guest/announcements.ts";
import { presentBalloon } from "../../balloon.ts";
import type { BlockDeviceInfo, BlockNodeInfo, CardInfo } from "../../context.ts";
import { CommandError } from "../../errors.ts";
import { defineHumanCommand, type HumanCommand } from "../command.ts";
import { flag, integer, onOff, optionalText, text } from "../parameters.ts";

const MEBIBYTE = 1 << 20;

function describeCache({ cache }: BlockNodeInfo): string {
  const mode = cache.writeback ? "writeback" : "writethrough";
  return [mode, ...cache.direct ? ["direct"] : [], ...cache.noFlush ? ["ignore flushes"] : []]
    .join(", ");
}

function describeMedium({ filename, driver, readOnly }: BlockNodeInfo): string {
  return `${filename} (${driver}${readOnly ? ", read-only" : ""})`;
}

/** Bytes as a person reads them: three digits and a unit. */
function humanSize(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number(value.toPrecision(3))} ${units[unit]}`;
}

function describeImage({ filename, driver, virtualSize, actualSize }: BlockNodeInfo): string {
  return "\nImages:\n" +
    `image: ${filename}\nfile format: ${driver}\n` +
    `virtual size: ${humanSize(virtualSize)} (${virtualSize} bytes)\n` +
    (actualSize === undefined ? "" : `disk size: ${humanSize(actualSize)}\n`);
}

function describeNode(node: BlockNodeInfo, verbose: boolean): string {
  return `${node.nodeName}: ${describeMedium(node)}\n` +
    `    Cache mode:       ${describeCache(node)}\n` + (verbose ? describeImage(node) : "");
}

function describeDisk(
  { id, qdev }: BlockDeviceInfo,
  node: BlockNodeInfo | undefined,
  verbose: boolean,
): string {
  const title = node === undefined
    ? `${id}: [not inserted]`
    : `${id === "" ? node.nodeName : `${id} (${node.nodeName})`}: ${describeMedium(node)}`;
  return `${title}\n` +
    (qdev === undefined ? "" : `    Attached to:      ${qdev}\n`) +
    (node === undefined ? "" : `    Cache mode:       ${describeCache(node)}\n`) +
    (node !== undefined && verbose ? describeImage(node) : "");
}

function describeStatistics({ id, statistics }: BlockDeviceInfo): string {
  const { read, write, flush } = statistics;
  const line = (title: string, ...values: readonly (number | string)[]) =>
    title.padEnd(10) + values.map((value, i) => String(value).padStart([21, 17, 25, 11][i] ?? 0))
      .join("") +
    "\n";
  return `${id}: idle_time_ns=0\n` +
    line("", "bytes", "operations", "total_time_ns", "merged") +
    line("Read:", read.bytes, read.operations, read.time, 0) +
    line("Write:", write.bytes, write.operations, write.time, 0) +
    line("Flush:", "", flush.operations, flush.time);
}

function describeCard({ name, driver, backend, filter }: CardInfo): string {
  return `${name}: index=0,type=nic,model=${driver},macaddr=${filter.address}\n` +
    (backend ? ` \\ ${backend.id}: index=0,${backend.description}\n` : "");
}

/** Subcommands of `info`. */
export const deviceInfo: readonly HumanCommand[] = [
  defineHumanCommand({
    names: "block",
    help: "show info of one block device or all block devices",
    parameters: { nodes: flag("n"), verbose: flag("v"), device: optionalText },
    usage: "[-n] [-v] [device]",
    run: ({ context: { block }, print }, { nodes: named, verbose, device }) => {
      const nodes = block.nodes();
      if (named) {
        const shown = nodes.filter(({ nodeName }) => (device ?? nodeName) === nodeName);
        print(shown.map((node) => describeNode(node, verbose)).join("\n"));
        return;
      }
      const shown = block.devices().filter(({ id }) => (device ?? id) === id);
      const nodeOf = (disk: BlockDeviceInfo) =>
        nodes.find(({ nodeName }) => nodeName === disk.inserted);
      print(shown.map((disk) => describeDisk(disk, nodeOf(disk), verbose)).join("\n"));
    },
  }),
  defineHumanCommand({
    names: "blockstats",
    help: "show block device statistics",
    parameters: {},
    run: ({ context: { block }, print }) => {
      print(block.devices().map(describeStatistics).join("\n"));
    },
  }),
  defineHumanCommand({
    names: "network",
    help: "show the network state",
    parameters: {},
    run: ({ context: { network }, print }) => {
      for (const { id, description } of network.unused()) print(`${id}: index=0,${description}\n`);
      for (const card of network.cards()) print(describeCard(card));
    },
  }),
  defineHumanCommand({
    names: "balloon",
    help: "show balloon information",
    parameters: {},
    run: ({ context, print }) => {
      const megabytes = Math.floor(presentBalloon(context.balloon).actual / MEBIBYTE);
      print(`balloon: actual=${megabytes}\n`);
    },
  }),
];

export const deviceCommands: readonly HumanCommand[] = [
  defineHumanCommand({
    names: "announce_self",
    help: "Trigger GARP/RARP announcements",
    parameters: { interfaces: optionalText, id: optionalText },
    usage: "[interfaces] [id]",
    run: ({ context: { network, migration } }, { interfaces, id }) => {
      network.announce(announceParameters(migration.parameters), {
        interfaces: interfaces?.split(","),
        id,
      });
    },
  }),
  defineHumanCommand({
    names: "set_link",
    help: "change the link status of a network adapter",
    parameters: { name: text, up: onOff },
    usage: "name on|off",
    run: ({ context: { network } }, { name, up }) => {
      if (!network.setLink(name, up)) {
        throw new CommandError(`Device '${name}' not found`, "DeviceNotFound");
      }
    },
  }),
  defineHumanCommand({
    names: "balloon",
    help: "request VM to change its memory allocation (in MB)",
    parameters: { target: integer },
    run: ({ context }, { target }) => {
      const balloon = presentBalloon(context.balloon);
      if (target <= 0n) throw new CommandError("Parameter 'target' expects a size");
      balloon.setTarget(Number(target) * MEBIBYTE);
    },
  }),
];
