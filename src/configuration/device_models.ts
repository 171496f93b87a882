/**
 * The device models that -device and device_add know, with their properties. Names, types and defaults
 * are QEMU 11.1's; what a guest would see differently and molt does not do is limited to its default.
 */
import {
  boolean,
  choice,
  defaulting,
  integer,
  limited,
  onOffAuto,
  type PropertiesOf,
  type PropertyTable,
  refused,
  size,
  text,
} from "./property.ts";

const off = "leave it off";

/** Properties of every virtio device. */
const virtioProperties = {
  any_layout: defaulting(boolean(), true),
  event_idx: defaulting(boolean(), true),
  in_order: defaulting(limited(boolean(), [false], off), false),
  indirect_desc: defaulting(boolean(), true),
  iommu_platform: defaulting(limited(boolean(), [false], "there is no IOMMU"), false),
  notify_on_empty: defaulting(boolean(), true),
  packed: defaulting(limited(boolean(), [false], "queues are split virtqueues"), false),
  queue_reset: defaulting(boolean(), true),
  "use-disabled-flag": defaulting(boolean(), true),
  "use-started": defaulting(boolean(), true),
  "x-disable-legacy-check": defaulting(boolean(), false),
};

/** `auto` for numbers: the device chooses. */
const automatic16 = 0xffff;
const automatic32 = 0xffffffff;

/** `auto`: as the drive says. */
const errorAction = defaulting(
  choice(["auto", "report", "ignore", "enospc", "stop"], "What a failed request does"),
  "auto",
);

const virtioBlkProperties = {
  ...virtioProperties,
  "account-failed": defaulting(onOffAuto(), "auto"),
  "account-invalid": defaulting(onOffAuto(), "auto"),
  backend_defaults: defaulting(onOffAuto(), "auto"),
  bootindex: integer("int32", "Place in the boot order"),
  "config-wce": defaulting(boolean(), true),
  cyls: defaulting(integer("uint32"), 0),
  discard: defaulting(boolean(), true),
  discard_granularity: defaulting(size(), automatic32),
  drive: text("Node name or ID of a block device to use as a backend"),
  heads: defaulting(integer("uint32"), 0),
  iothread: text("ID of the iothread that runs requests"),
  "iothread-vq-mapping": refused("use iothread="),
  lcyls: defaulting(integer("uint32"), 0),
  lheads: defaulting(integer("uint32"), 0),
  logical_block_size: defaulting(size("A power of two between 512 B and 2 MiB"), 0),
  lsecs: defaulting(integer("uint32"), 0),
  "max-discard-sectors": defaulting(integer("uint32"), 4194303),
  "max-write-zeroes-sectors": defaulting(integer("uint32"), 4194303),
  min_io_size: defaulting(size(), 0),
  "num-queues": defaulting(integer("uint16"), automatic16),
  opt_io_size: defaulting(size(), 0),
  physical_block_size: defaulting(size("A power of two between 512 B and 2 MiB"), 0),
  "queue-size": defaulting(integer("uint16"), 256),
  "report-discard-granularity": defaulting(boolean(), true),
  "request-merging": defaulting(boolean(), true),
  rerror: errorAction,
  secs: defaulting(integer("uint32"), 0),
  "seg-max-adjust": defaulting(boolean(), true),
  serial: text("Serial number, 20 bytes are shown"),
  "share-rw": defaulting(boolean("Other devices may use the same image"), false),
  "stats-intervals": refused("use query-blockstats' totals"),
  werror: errorAction,
  "write-cache": defaulting(onOffAuto(), "auto"),
  "write-zeroes": defaulting(boolean(), true),
  "x-enable-wce-if-config-wce": defaulting(boolean(), true),
};

/** Offloads and controls that a network device offers. */
const virtioNetFeatures = {
  csum: defaulting(boolean(), true),
  ctrl_guest_offloads: defaulting(boolean(), true),
  ctrl_mac_addr: defaulting(boolean(), true),
  ctrl_rx: defaulting(boolean(), true),
  ctrl_rx_extra: defaulting(boolean(), true),
  ctrl_vlan: defaulting(boolean(), true),
  ctrl_vq: defaulting(boolean(), true),
  gso: defaulting(boolean(), true),
  guest_announce: defaulting(boolean(), true),
  guest_csum: defaulting(boolean(), true),
  guest_ecn: defaulting(boolean(), true),
  guest_tso4: defaulting(boolean(), true),
  guest_tso6: defaulting(boolean(), true),
  guest_tunnel: defaulting(boolean(), true),
  guest_tunnel_csum: defaulting(boolean(), true),
  guest_ufo: defaulting(boolean(), true),
  guest_uso4: defaulting(boolean(), true),
  guest_uso6: defaulting(boolean(), true),
  host_ecn: defaulting(boolean(), true),
  host_tso4: defaulting(boolean(), true),
  host_tso6: defaulting(boolean(), true),
  host_tunnel: defaulting(boolean(), true),
  host_tunnel_csum: defaulting(boolean(), true),
  host_ufo: defaulting(boolean(), true),
  host_uso: defaulting(boolean(), true),
  mrg_rxbuf: defaulting(boolean(), true),
  status: defaulting(boolean(), true),
};

const noRss = "the device does not spread or hash frames; leave it off";

const virtioNetProperties = {
  ...virtioProperties,
  ...virtioNetFeatures,
  bootindex: integer("int32", "Place in the boot order"),
  duplex: text("half or full"),
  "ebpf-rss-fds": refused(noRss),
  failover: defaulting(limited(boolean(), [false], off), false),
  guest_rsc_ext: defaulting(limited(boolean(), [false], off), false),
  hash: defaulting(limited(boolean(), [false], noRss), false),
  "hash-ipv4": defaulting(limited(onOffAuto(), ["auto", "off"], noRss), "auto"),
  "hash-ipv6": defaulting(limited(onOffAuto(), ["auto", "off"], noRss), "auto"),
  "hash-ipv6ex": defaulting(limited(onOffAuto(), ["auto", "off"], noRss), "auto"),
  "hash-tcp4": defaulting(limited(onOffAuto(), ["auto", "off"], noRss), "auto"),
  "hash-tcp6": defaulting(limited(onOffAuto(), ["auto", "off"], noRss), "auto"),
  "hash-tcp6ex": defaulting(limited(onOffAuto(), ["auto", "off"], noRss), "auto"),
  "hash-udp4": defaulting(limited(onOffAuto(), ["auto", "off"], noRss), "auto"),
  "hash-udp6": defaulting(limited(onOffAuto(), ["auto", "off"], noRss), "auto"),
  "hash-udp6ex": defaulting(limited(onOffAuto(), ["auto", "off"], noRss), "auto"),
  host_mtu: defaulting(integer("uint16"), 0),
  mac: text("Ethernet 6-byte MAC Address, example: 52:54:00:12:34:56"),
  mq: defaulting(boolean("Several queue pairs"), false),
  netdev: text("ID of a netdev to use as a backend"),
  rsc_interval: defaulting(integer("uint32"), 300000),
  rss: defaulting(limited(boolean(), [false], noRss), false),
  rx_queue_size: defaulting(integer("uint16"), 256),
  speed: defaulting(integer("int32"), -1),
  tx: text("bh"),
  tx_queue_size: defaulting(integer("uint16"), 256),
  "x-txburst": defaulting(integer("int32"), 256),
  "x-txtimer": defaulting(integer("uint32"), 150000),
};

const virtioRngProperties = {
  ...virtioProperties,
  "max-bytes": defaulting(integer("uint64", "Bytes in a period"), Number.MAX_SAFE_INTEGER),
  period: defaulting(integer("uint32", "Milliseconds"), 65536),
  rng: text("ID of the source; absent: the host's"),
};

const virtioSerialProperties = {
  ...virtioProperties,
  max_ports: defaulting(integer("uint32"), 31),
};

const portProperties = {
  chardev: text("ID of a chardev to use as a backend"),
  name: text("Name that the guest sees"),
  nr: defaulting(integer("uint32", "Number of the port"), automatic32),
};

const virtioBalloonProperties = {
  ...virtioProperties,
  "deflate-on-oom": defaulting(boolean(), false),
  "free-page-hint": defaulting(limited(boolean(), [false], off), false),
  "free-page-reporting": defaulting(limited(boolean(), [false], off), false),
  "guest-stats": refused("it is read, not set"),
  "guest-stats-polling-interval": defaulting(integer("int64", "Seconds"), 0),
  iothread: limited(text(), [], "free page hints are not offered"),
  "page-poison": defaulting(boolean(), true),
};

/** What is said of a model, once: -device, its help, -global and the object types come from it. */
export interface DeviceModelEntry {
  readonly properties: PropertyTable;
  /** Heading in `-device help`. */
  readonly category: "Storage devices" | "Network devices" | "Input devices" | "Misc devices";
  /** The bus that a device of it is on, as `-device help` says. */
  readonly bus: string;
  /** The class it is derived from: a model or one of {@linkcode deviceClasses}. */
  readonly parent: string;
}

const virtio = { bus: "virtio-bus", parent: "virtio-device" } as const;
const port = {
  properties: portProperties,
  category: "Input devices",
  bus: "virtio-serial-bus",
} as const;

/** All models, each after what it is derived from. */
export const deviceModels = {
  "virtio-balloon-device": {
    properties: virtioBalloonProperties,
    category: "Misc devices",
    ...virtio,
  },
  "virtio-blk-device": { properties: virtioBlkProperties, category: "Storage devices", ...virtio },
  "virtio-net-device": { properties: virtioNetProperties, category: "Network devices", ...virtio },
  "virtio-rng-device": { properties: virtioRngProperties, category: "Misc devices", ...virtio },
  "virtio-serial-device": {
    properties: virtioSerialProperties,
    category: "Input devices",
    ...virtio,
  },
  "virtserialport": { ...port, parent: "virtio-serial-port" },
  "virtconsole": { ...port, parent: "virtserialport" },
} as const satisfies Record<string, DeviceModelEntry>;

/** Classes of which there are no devices by themselves, all of them derived from `device`. */
export const deviceClasses = ["virtio-device", "virtio-serial-port"] as const;

export type DeviceDriver = keyof typeof deviceModels;

/** The classes a device belongs to, its own first: -global may name any of them. */
export function classesOf(driver: DeviceDriver): readonly string[] {
  const { parent } = deviceModels[driver];
  return [driver, ...(isDeviceDriver(parent) ? classesOf(parent) : [parent, "device"])];
}

/** One device, its properties complete: those not given have their defaults. */
export type DeviceConfig = {
  [Driver in DeviceDriver]: {
    readonly driver: Driver;
    readonly id?: string;
    /** `virtio-mmio-bus.N`, or for ports `ID.0` of their virtio-serial device. */
    readonly bus?: string;
    readonly properties: PropertiesOf<(typeof deviceModels)[Driver]["properties"]>;
  };
}[DeviceDriver];

/** Properties of the virtio-mmio transports, set by -global. */
export const virtioMmioProperties = {
  "force-legacy": defaulting(boolean("Legacy registers (version 1)"), true),
  format_transport_address: defaulting(limited(boolean(), [true], "leave it on"), true),
  ioeventfd: defaulting(boolean("Queue notifications without an exit to user space"), true),
};

export function isDeviceDriver(driver: string): driver is DeviceDriver {
  return Object.hasOwn(deviceModels, driver);
}

/** Devices that are something else on another bus, or that QEMU has and molt has not. */
export function deviceAdvice(driver: string): { message: string; hint?: string } {
  const virtio = /^virtio-(blk|net|rng|serial|balloon)(?:-pci(?:-(?:non-)?transitional)?)?$/
    .exec(driver);
  if (virtio !== null) {
    return {
      message: `No 'PCI' bus found for device 'virtio-${virtio[1]}-pci'`,
      hint: `use virtio-${virtio[1]}-device`,
    };
  }
  const pci = /-pci$|^(?:e1000e?|rtl8139|nvme|qemu-xhci|ahci|pcie-root-port|VGA|ivshmem-.*)$/;
  if (driver === "vfio-pci") {
    return {
      message: `No 'PCI' bus found for device '${driver}'`,
      hint: "the board has no PCI: devices of the host cannot be passed through",
    };
  }
  if (pci.test(driver)) {
    return {
      message: `No 'PCI' bus found for device '${driver}'`,
      hint: "the board has no PCI: '-device help' lists its devices",
    };
  }
  if (driver.startsWith("usb-")) {
    return {
      message: `No 'usb-bus' bus found for device '${driver}'`,
      hint: "the board has no USB",
    };
  }
  if (driver === "isa-serial") {
    return { message: `'${driver}' is not available: use '-serial'` };
  }
  return {
    message: `'${driver}' is not a valid device model name`,
    hint: "use '-device help' for those that there are",
  };
}
