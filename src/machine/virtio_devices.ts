/**
 * The virtio devices of a configuration: what they need of the host is opened first, then the board
 * creates the devices in its transports.
 *
 *   configuration -> VirtioDevices: images, sources of randomness -> create: device models
 */
import type { Chardevs } from "../backends/chardevs.ts";
import { ImageError } from "../backends/block/errors.ts";
import { BlockImage, type ImageEnvironment } from "../backends/block/image.ts";
import type { NetworkBackend } from "../backends/network/backend.ts";
import { type NetworkEnvironment, openNetworkBackend } from "../backends/network/open.ts";
import { guardedPort } from "../backends/guarded_port.ts";
import { BuiltinRng, EgdRng, FileRng, type RngBackend } from "../backends/rng.ts";
import type { BlockErrorAction, BlockNode, DriveConfig } from "../configuration/block.ts";
import type { DeviceConfig } from "../configuration/device_models.ts";
import type { VirtualMachineConfig } from "../configuration/virtual_machine.ts";
import { VirtioBalloon } from "../devices/virtio/balloon.ts";
import { type BlkProperties, VirtioBlk } from "../devices/virtio/blk.ts";
import type { VirtioDevice } from "../devices/virtio/device.ts";
import { VirtioNet } from "../devices/virtio/net.ts";
import { VirtioRng } from "../devices/virtio/rng.ts";
import { VirtioSerial } from "../devices/virtio/serial.ts";
import type { VirtualClock } from "../devices/device.ts";
import type { DeviceMemory } from "../native/device_memory.ts";
import type { Descriptor, Fd } from "../native/descriptor.ts";
import type { DiskError, ErrorAction } from "../native/disk.ts";
import { Errno, errnoMessage } from "../native/errors.ts";
import type { EventLoop } from "../native/event_loop.ts";
import type { DeviceEvent } from "./device_events.ts";
import { devicePath } from "./device_names.ts";
import { MacAddresses } from "./mac_addresses.ts";
import type { RunState } from "./run_state.ts";
import { assignPorts, type NumberedPort, type SerialConfig } from "./serial_ports.ts";

type ConfigOf<Driver extends DeviceConfig["driver"]> = Extract<DeviceConfig, { driver: Driver }>;

/** A device with a transport of its own. */
export type TransportedConfig = Exclude<
  DeviceConfig,
  { driver: "virtconsole" | "virtserialport" }
>;

/** What the devices' host side needs. */
export interface VirtioEnvironment extends ImageEnvironment, NetworkEnvironment {
  readonly adopt: (name: string, id?: number) => Descriptor | undefined;
  readonly loop: EventLoop;
  readonly chardevs: Chardevs;
  /** Takes messages for the user. */
  readonly report: (message: string) => void;
}

/** What devices need of the board. */
export interface VirtioBoard {
  readonly clock: VirtualClock;
  readonly deviceMemory: DeviceMemory;
  readonly emit: (event: DeviceEvent) => void;
  /** Stops the machine if it runs. Not to be called while an access is under way. */
  readonly stop: (state: RunState) => void;
  /** Takes faults of a device, which stop the machine. */
  readonly faulted: (device: string, fault: unknown) => void;
}

/** A disk and the device that shows it. */
export interface Disk {
  readonly config: ConfigOf<"virtio-blk-device">;
  readonly drive: DriveConfig | undefined;
  readonly image: BlockImage;
  readonly device: VirtioBlk;
  /** Why requests wait for the machine to go on; `ok`: none do. */
  ioStatus: "ok" | "failed" | "nospace";
}

/** A network card and what it is connected to. */
export interface Card {
  readonly config: ConfigOf<"virtio-net-device">;
  readonly backend: NetworkBackend | undefined;
  readonly device: VirtioNet;
}

/** States in which the images are somebody else's. */
const foreignStates: ReadonlySet<RunState> = new Set([
  "inmigrate",
  "finish-migrate",
  "postmigrate",
]);

/** The host side of all virtio devices, and the devices once the board has created them. */
export class VirtioDevices implements Disposable {
  /** Those with a transport, in the order in which they get one. */
  readonly configs: readonly TransportedConfig[];
  readonly disks: Disk[] = [];
  readonly cards: Card[] = [];
  /** The balloon, if there is one. */
  balloon: VirtioBalloon | undefined;
  readonly #config: VirtualMachineConfig;
  readonly #environment: VirtioEnvironment;
  readonly #images: BlockImage[] = [];
  readonly #ports: ReadonlyMap<SerialConfig, readonly NumberedPort[]>;
  readonly #networks = new Map<string, NetworkBackend>();
  readonly #addresses = new MacAddresses();
  readonly #resources = new DisposableStack();

  private constructor(config: VirtualMachineConfig, environment: VirtioEnvironment) {
    this.#config = config;
    this.#environment = environment;
    this.configs = config.devices.filter(hasTransport);
    this.#ports = assignPorts(config.devices);
  }

  /** Opens what takes its time: connections, scripts of interfaces. */
  static async open(
    config: VirtualMachineConfig,
    environment: VirtioEnvironment,
  ): Promise<VirtioDevices> {
    using undo = new DisposableStack();
    const devices = undo.use(new VirtioDevices(config, environment));
    for (const netdev of config.netdevs) {
      const backend = await openNetworkBackend(netdev, environment);
      devices.#networks.set(netdev.id, devices.#resources.use(backend));
    }
    undo.move();
    return devices;
  }

  /** The model of a device. Throws, naming the device, if its backend cannot be used. */
  create(config: TransportedConfig, board: VirtioBoard): VirtioDevice<unknown> {
    switch (config.driver) {
      case "virtio-blk-device":
        return this.#createDisk(config, board);
      case "virtio-net-device":
        return this.#createCard(config);
      case "virtio-rng-device":
        return new VirtioRng(this.#rngBackend(config.properties.rng, board), {
          ...config.properties,
          maxBytes: config.properties["max-bytes"],
        }, board.clock);
      case "virtio-serial-device":
        return this.#createSerial(config, board);
      case "virtio-balloon-device":
        return this.#createBalloon(config, board);
    }
  }

  /** The machine enters a run state: the images are locked for use here, or left to others. */
  runStateEntered(state: RunState): void {
    if (state === "running") this.disks.forEach((disk) => disk.ioStatus = "ok");
    const foreign = foreignStates.has(state);
    const inUse = this.disks.filter(({ device }) => device.busy).map(({ image }) => image);
    for (const image of this.#images) {
      if (!foreign) image.activate();
      // The machine enters the state once more when the requests have ended.
      else if (!inUse.includes(image)) image.inactivate();
    }
  }

  /** The host's sides of all networks. */
  get networks(): readonly NetworkBackend[] {
    return [...this.#networks.values()];
  }

  /** What a live update hands on: opened images, interfaces, connections. */
  descriptors(): { name: string; id: number; fd: Fd }[] {
    const images = this.#images.flatMap(({ keptName, fd }) =>
      fd === undefined ? [] : [{ name: keptName, id: 0, fd }]
    );
    const networks = [...this.#networks.values()].flatMap((backend) => backend.descriptors());
    return [...images, ...networks];
  }

  [Symbol.dispose](): void {
    this.#resources[Symbol.dispose]();
  }

  #openImage(name: string, node: BlockNode): BlockImage {
    try {
      return new BlockImage(name, node, (other) => this.#findNode(other), this.#environment);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new ImageError(`-device virtio-blk-device,drive=${name}: ${reason}`, { cause: error });
    }
  }

  #createDisk(config: ConfigOf<"virtio-blk-device">, board: VirtioBoard): VirtioBlk {
    const name = config.properties.drive ?? "";
    const drive = this.#config.drives.find(({ id }) => id === name);
    const node = drive ? drive.node : this.#findNode(name);
    if (node === undefined) {
      throw new Error(`-device virtio-blk-device: there is no drive '${name}'`);
    }
    const image = this.#resources.use(this.#openImage(name, node));
    image.shareWrite = config.properties["share-rw"];
    this.#images.push(image);
    const device: VirtioBlk = new VirtioBlk(
      image,
      blkProperties(config, drive, image),
      board.deviceMemory,
      this.#environment.loop,
      {
        failed: (error) => {
          if (error.action === "stop") {
            disk.ioStatus = error.errno === Errno.ENOSPC ? "nospace" : "failed";
          }
          const path = devicePath(config, this.#config.devices);
          reportDiskError(error, path, drive, node, board);
        },
      },
    );
    const disk: Disk = { config, drive, image, device, ioStatus: "ok" };
    this.disks.push(disk);
    return device;
  }

  #createCard(config: ConfigOf<"virtio-net-device">): VirtioNet {
    const { properties } = config;
    const backend = this.#networks.get(properties.netdev ?? "");
    const device = new VirtioNet(
      backend,
      {
        ...properties,
        address: this.#addresses.next(properties.mac),
        receiveQueueSize: properties.rx_queue_size,
        transmitQueueSize: properties.tx_queue_size,
        mtu: properties.host_mtu,
        speed: properties.speed < 0 ? undefined : properties.speed,
        duplex: properties.duplex === "half" || properties.duplex === "full"
          ? properties.duplex
          : undefined,
      },
      this.#environment.loop,
    );
    this.cards.push({ config, backend, device });
    return device;
  }

  #createSerial(config: SerialConfig, { emit, faulted }: VirtioBoard): VirtioSerial {
    const { chardevs } = this.#environment;
    const ports = (this.#ports.get(config) ?? []).map(({ config: port, number }) => {
      const { chardev, name } = port.properties;
      return {
        number,
        name,
        isConsole: port.driver === "virtconsole",
        backend: chardev === undefined
          ? undefined
          : guardedPort(chardevs.port(chardev), (fault) => faulted(port.driver, fault)),
        guestConnectionChanged: (open: boolean) => {
          const { id } = port;
          if (id !== undefined) emit({ name: "VSERPORT_CHANGE", data: { id, open } });
        },
      };
    });
    return new VirtioSerial({ ...config.properties, maxPorts: config.properties.max_ports }, ports);
  }

  #createBalloon(
    { properties }: ConfigOf<"virtio-balloon-device">,
    { clock, emit }: VirtioBoard,
  ): VirtioBalloon {
    if (this.balloon) {
      throw new Error("-device virtio-balloon-device: Only one balloon device is supported");
    }
    const { report } = this.#environment;
    this.balloon = new VirtioBalloon(
      {
        ...properties,
        deflateOnOom: properties["deflate-on-oom"],
        pagePoison: properties["page-poison"],
        pollingInterval: properties["guest-stats-polling-interval"],
      },
      this.#config.memory.size,
      clock,
      {
        changed: (actual) => emit({ name: "BALLOON_CHANGE", data: { actual } }),
        notDiscarded: (error) => report(`virtio-balloon: ${error.message}`),
      },
    );
    return this.balloon;
  }

  #findNode(name: string): BlockNode | undefined {
    return this.#config.blockNodes.find(({ nodeName }) => nodeName === name);
  }

  #rngBackend(id: string | undefined, { faulted }: VirtioBoard): RngBackend {
    const { loop, chardevs, report, openPath } = this.#environment;
    const object = this.#config.objects.find((candidate) => candidate.id === id);
    switch (object?.type) {
      case "rng-random":
        return this.#resources.use(new FileRng(object.filename, { loop, report, openPath }));
      case "rng-egd":
        return this.#resources.use(
          new EgdRng(
            guardedPort(chardevs.port(object.chardev), (fault) => faulted("rng-egd", fault)),
          ),
        );
      default:
        return new BuiltinRng();
    }
  }
}

function hasTransport(device: DeviceConfig): device is TransportedConfig {
  return device.driver !== "virtconsole" && device.driver !== "virtserialport";
}

/** Numbers that stand for `auto` in properties. */
const AUTOMATIC_16 = 0xffff;
const AUTOMATIC_32 = 0xffffffff;
const SECTOR = 512;

function blkProperties(
  { properties }: ConfigOf<"virtio-blk-device">,
  drive: DriveConfig | undefined,
  image: BlockImage,
): BlkProperties {
  const logicalBlockSize = properties.logical_block_size || SECTOR;
  const physicalBlockSize = properties.physical_block_size || SECTOR;
  const fail = (message: string): never => {
    throw new Error(`-device virtio-blk-device,drive=${image.id}: ${message}`);
  };
  if (logicalBlockSize > physicalBlockSize) {
    fail("logical_block_size > physical_block_size not supported");
  }
  for (const name of ["min_io_size", "opt_io_size"] as const) {
    if (properties[name] % logicalBlockSize !== 0) {
      fail(`${name} must be a multiple of logical_block_size`);
    }
  }
  if (image.direct && logicalBlockSize < image.alignment) {
    fail(
      `direct access to '${image.path}' needs blocks of ${image.alignment} bytes: set ` +
        `logical_block_size=${image.alignment},physical_block_size=${image.alignment} or cache.direct=off`,
    );
  }
  const action = (given: "auto" | BlockErrorAction, ofDrive: ErrorAction): ErrorAction =>
    given === "auto" ? ofDrive : given;
  return {
    ...properties,
    queues: properties["num-queues"] === AUTOMATIC_16 ? 1 : properties["num-queues"],
    queueSize: properties["queue-size"],
    segMaxAdjust: properties["seg-max-adjust"],
    logicalBlockSize,
    physicalBlockSize,
    minimumIoSize: properties.min_io_size,
    optimalIoSize: properties.opt_io_size,
    discardGranularity: properties.discard_granularity === AUTOMATIC_32
      ? undefined
      : properties.discard_granularity,
    reportDiscardGranularity: properties["report-discard-granularity"],
    writeZeroes: properties["write-zeroes"],
    maxDiscardSectors: properties["max-discard-sectors"],
    maxWriteZeroesSectors: properties["max-write-zeroes-sectors"],
    serial: properties.serial ?? "",
    cylinders: properties.cyls,
    heads: properties.heads,
    sectors: properties.secs,
    writeCache: properties["write-cache"] === "auto"
      ? drive?.writeback ?? true
      : properties["write-cache"] === "on",
    configWriteCache: properties["config-wce"],
    readError: action(properties.rerror, drive?.readError ?? "report"),
    writeError: action(properties.werror, drive?.writeError ?? "enospc"),
  };
}

function reportDiskError(
  { operation, action, errno }: DiskError,
  path: string,
  drive: DriveConfig | undefined,
  node: BlockNode,
  { emit, stop }: VirtioBoard,
): void {
  emit({
    name: "BLOCK_IO_ERROR",
    data: {
      "qom-path": path,
      device: drive?.id ?? "",
      ...(node.nodeName === undefined ? {} : { "node-name": node.nodeName }),
      operation: operation === "read" ? "read" : "write",
      action,
      ...(errno === Errno.ENOSPC ? { nospace: true } : { nospace: false }),
      reason: errnoMessage(errno),
    },
  });
  if (action === "stop") stop("io-error");
}
