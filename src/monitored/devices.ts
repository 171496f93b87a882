/** What monitors show of disks, network cards and the balloon, and what they ask of them. */
import type { BlockNode } from "../configuration/block.ts";
import type { VirtualMachineConfig } from "../configuration/virtual_machine.ts";
import type { Announcements } from "../guest/announcements.ts";
import type { Card, Disk, VirtioDevices } from "../machine/virtio_devices.ts";
import { deviceName, devicePath } from "../machine/device_names.ts";
import type {
  BalloonControl,
  BlockControl,
  BlockNodeInfo,
  CardInfo,
  FrameChoice,
  FrameFilterInfo,
  NetworkBackendInfo,
  NetworkControl,
} from "../monitor/context.ts";

/** The subjects of monitors that this file knows. */
export interface DeviceInspection {
  readonly block: BlockControl;
  readonly network: NetworkControl;
  readonly balloon: BalloonControl | undefined;
}

/** Devices as monitors see them. */
export function inspectDevices(
  config: VirtualMachineConfig,
  devices: VirtioDevices,
  announcements: Announcements,
): DeviceInspection {
  return {
    block: blockControl(config, devices),
    network: networkControl(config, devices, announcements),
    balloon: devices.balloon,
  };
}

/** Those of a machine that has none. */
export const noDevices: DeviceInspection = {
  block: { devices: () => [], nodes: () => [] },
  network: { cards: () => [], unused: () => [], setLink: () => false, announce: () => {} },
  balloon: undefined,
};

function blockControl(config: VirtualMachineConfig, { disks }: VirtioDevices): BlockControl {
  const names = new NodeNames();
  const chains = new Map(disks.map((disk) => [disk, chainOf(disk, config, names)]));
  return {
    devices: () =>
      [...disks].sort(byDrive).map((disk) => ({
        id: disk.drive?.id ?? "",
        qdev: disk.config.id ?? devicePath(disk.config, config.devices),
        inserted: chains.get(disk)?.[0]?.name,
        ioStatus: disk.ioStatus,
        statistics: disk.device.statistics,
      })),
    nodes: () => [...chains].flatMap(([disk, chain]) => describeChain(disk, chain)),
  };
}

/** Disks of -drive come first. */
function byDrive(a: Disk, b: Disk): number {
  return Number(a.drive === undefined) - Number(b.drive === undefined);
}

/** A block node and the name by which monitors know it. */
interface NamedNode {
  readonly name: string;
  readonly node: BlockNode;
}

/** Names of nodes that were given none. */
class NodeNames {
  readonly #names = new Map<BlockNode, string>();

  of(node: BlockNode): string {
    if (node.nodeName !== undefined) return node.nodeName;
    const name = this.#names.get(node) ?? `#block${String(this.#names.size).padStart(3, "0")}`;
    this.#names.set(node, name);
    return name;
  }
}

/** From the node that a disk shows down to its file. */
function chainOf({ image }: Disk, { blockNodes }: VirtualMachineConfig, names: NodeNames) {
  const chain: NamedNode[] = [];
  for (let node: BlockNode | undefined = image.node; node !== undefined;) {
    chain.push({ name: names.of(node), node });
    if (node.driver !== "raw") break;
    const below: string | BlockNode = node.file;
    node = typeof below === "string"
      ? blockNodes.find(({ nodeName }) => nodeName === below)
      : below;
  }
  return chain;
}

function describeChain({ image, drive }: Disk, chain: readonly NamedNode[]): BlockNodeInfo[] {
  return chain.map(({ name, node }, i) => {
    const below = chain[i + 1];
    return {
      nodeName: name,
      driver: node.driver,
      filename: image.path,
      readOnly: image.readOnly,
      active: image.active,
      cache: {
        writeback: drive?.writeback ?? true,
        direct: image.direct,
        noFlush: image.noFlush,
      },
      detectZeroes: node.detectZeroes,
      virtualSize: image.size,
      actualSize: image.allocated,
      children: below ? [{ name: "file", nodeName: below.name }] : [],
    };
  });
}

function networkControl(
  config: VirtualMachineConfig,
  devices: VirtioDevices,
  announcements: Announcements,
): NetworkControl {
  const { cards } = devices;
  const describe = ({ id, description }: NetworkBackendInfo) => ({ id, description });
  const nameOf = (card: Card) => deviceName(card.config, config.devices);
  return {
    cards: () =>
      cards.map((card): CardInfo => ({
        name: nameOf(card),
        driver: card.config.driver,
        backend: card.backend && describe(card.backend),
        filter: describeFilter(card),
      })),
    unused: () =>
      devices.networks
        .filter((backend) => !cards.some((card) => card.backend === backend))
        .map(describe),
    announce: (parameters, choice) => announcements.start(parameters, choice),
    setLink: (name, up) => {
      const card = cards.find((card) => nameOf(card) === name || card.backend?.id === name);
      if (card) card.device.link = up;
      return card !== undefined;
    },
  };
}

function describeFilter({ device }: Card): FrameFilterInfo {
  const { filter, state, filtersVlans } = device.receiveMode;
  const choice = (none: boolean, all: boolean): FrameChoice =>
    none ? "none" : all ? "all" : "normal";
  const vlans = members(filter.vlans);
  return {
    address: showAddress(filter.address),
    promiscuous: filter.promiscuous,
    multicast: choice(filter.noMulticast, state.allMulticast),
    unicast: choice(filter.noUnicast, state.allUnicast),
    vlan: choice(filtersVlans && vlans.length === 0, !filtersVlans),
    broadcast: !filter.noBroadcast,
    multicastOverflow: state.multicastOverflow,
    unicastOverflow: state.unicastOverflow,
    vlans,
    unicastTable: filter.unicast.map(showAddress),
    multicastTable: filter.multicast.map(showAddress),
  };
}

function showAddress(address: Uint8Array): string {
  return Array.from(address, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/** Numbers of the bits that are set, the highest first, as QEMU lists them. */
function members(bits: Uint8Array): number[] {
  return Array.from({ length: 8 * bits.length }, (_, i) => 8 * bits.length - 1 - i)
    .filter((number) => ((bits[number >> 3] ?? 0) >> (number & 7) & 1) !== 0);
}
