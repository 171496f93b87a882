/**
 * The device tree of the microvm board, as QEMU 11.1 puts it into the fw_cfg file `etc/fdt` (byte for
 * byte, but for padding that libfdt leaves with stale bytes).
 */
import { type DeviceTreeNode, FlatDeviceTree } from "./flat_device_tree.ts";
import { IOAPIC_LENGTH } from "./ioapic.ts";
import { RTC_IRQ, RTC_PORT } from "./rtc_registers.ts";

/** What the tree says of the board. */
export interface DeviceTreeConfiguration {
  serial?: { port: number; irq: number } | undefined;
  rtc: boolean;
  secondIoapic?: { address: number; firstGsi: number } | undefined;
  /** The virtio-mmio transports that have a device. `index` counts from the lowest address. */
  virtioMmio: readonly { index: number; address: number; length: number; gsi: number }[];
}

/** Bytes of the file, most of them padding. */
export const DEVICE_TREE_SIZE = 0x100000;
const FIRST_IOAPIC = 0xfec00000;
const FIRST_PHANDLE = 0x8000;
/** Second interrupt cell: edge, as the transports have it. */
const EDGE = 0;

/** Builds the file. */
export function buildDeviceTree(configuration: DeviceTreeConfiguration): Uint8Array<ArrayBuffer> {
  const tree = new FlatDeviceTree();
  const { root } = tree;
  root.set("compatible", "linux,microvm");
  root.set("#address-cells", [2]);
  root.set("#size-cells", [2]);
  const chosen = root.add("chosen");

  let nextPhandle = FIRST_PHANDLE;
  const ioapic = (name: string, address: number) => {
    const node = root.add(`${name}@${address.toString(16)}`);
    const phandle = nextPhandle++;
    node.set("compatible", "intel,ce4100-ioapic");
    node.set("interrupt-controller", []);
    node.set("#interrupt-cells", [2]);
    node.set("#address-cells", [2]);
    node.set("reg", range(address, IOAPIC_LENGTH));
    node.set("phandle", [phandle]);
    node.set("linux,phandle", [phandle]);
    return { phandle, firstGsi: 0 };
  };
  const second = configuration.secondIoapic;
  const secondController = second && {
    ...ioapic("ioapic2", second.address),
    firstGsi: second.firstGsi,
  };
  const firstController = ioapic("ioapic1", FIRST_IOAPIC);
  const interrupt = (node: DeviceTreeNode, gsi: number) => {
    const controller = secondController !== undefined && gsi >= secondController.firstGsi
      ? secondController
      : firstController;
    node.set("interrupt-parent", [controller.phandle]);
    node.set("interrupts", [gsi - controller.firstGsi, EDGE]);
  };

  const transports = [...configuration.virtioMmio].sort((a, b) => b.index - a.index);
  for (const { address, length, gsi } of transports) {
    const node = root.add(`virtio_mmio@${address.toString(16)}`);
    node.set("compatible", "virtio,mmio");
    node.set("reg", range(address, length));
    node.set("dma-coherent", []);
    interrupt(node, gsi);
  }
  if (configuration.serial !== undefined) {
    const { port, irq } = configuration.serial;
    const name = `serial@${port.toString(16)}`;
    const node = root.add(name);
    node.set("compatible", "ns16550");
    node.set("reg", range(port, 8));
    interrupt(node, irq);
    chosen.set("stdout-path", `/${name}`);
  }
  if (configuration.rtc) {
    const node = root.add(`rtc@${RTC_PORT.toString(16)}`);
    node.set("compatible", "motorola,mc146818");
    node.set("reg", range(RTC_PORT, 8));
    interrupt(node, RTC_IRQ);
  }
  return tree.encode(DEVICE_TREE_SIZE);
}

/** An address and a length of two cells each; both are below 4 GiB here. */
function range(address: number, length: number): number[] {
  return [0, address, 0, length];
}
