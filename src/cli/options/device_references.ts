/** Checks what devices name: backends, buses, and values that only make sense together. */
import { OptionError } from "../../configuration/errors.ts";
import type { DeviceConfig } from "../../configuration/device_models.ts";

/** What a disk may be made from: a drive, one without medium, or a block node. */
export interface Image {
  readonly kind: "drive" | "empty" | "node";
}

/** What a device may name, by id. */
export interface DeviceDependencies {
  readonly images: ReadonlyMap<string, Image>;
  readonly netdevs: ReadonlySet<string>;
  readonly chardevs: ReadonlySet<string>;
  /** Other objects, with their types. */
  readonly objects: ReadonlyMap<string, string>;
  /** How many virtio-mmio transports the board has; 0: there is no board. */
  readonly transports: number;
}

type Of<Driver extends DeviceConfig["driver"]> = Extract<DeviceConfig, { driver: Driver }>;

/** Ports of one virtio-serial device. */
interface SerialBus {
  readonly name: string;
  readonly maxPorts: number;
  readonly taken: Set<number>;
}

/** Ports that a virtio-serial device has at most. */
const mostPorts = 31;

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}

export class DeviceReferences {
  readonly #dependencies: DeviceDependencies;
  readonly #taken = new Set<string>();
  readonly #serialBuses: SerialBus[] = [];
  #transports = 0;

  constructor(dependencies: DeviceDependencies) {
    this.#dependencies = dependencies;
  }

  /** Throws if the next device cannot be added to those before it. */
  check(device: DeviceConfig, where: string): void {
    if (device.driver === "virtconsole" || device.driver === "virtserialport") {
      this.#port(device, where);
      return;
    }
    this.#transport(device, where);
    switch (device.driver) {
      case "virtio-blk-device":
        this.#blk(device, where);
        break;
      case "virtio-net-device":
        this.#net(device, where);
        break;
      case "virtio-rng-device":
        this.#rng(device, where);
        break;
      case "virtio-serial-device":
        this.#serial(device, where);
        break;
      case "virtio-balloon-device":
        break;
    }
  }

  /** Each virtio device has a transport of its own: the one it names, or the next free one. */
  #transport({ bus, driver }: DeviceConfig, where: string): void {
    const { transports } = this.#dependencies;
    if (transports === 0 || this.#transports === transports) {
      throw new OptionError(`${where}No 'virtio-bus' bus found for device '${driver}'`);
    }
    this.#transports++;
    if (bus === undefined) return;
    const match = /^virtio-mmio-bus\.(0|[1-9][0-9]*)$/.exec(bus);
    if (match === null || Number(match[1]) >= transports) {
      throw new OptionError(`${where}Bus '${bus}' not found`);
    }
    this.#take(bus, `${where}Bus '${bus}' is full`);
  }

  #take(resource: string, complaint: string): void {
    if (this.#taken.has(resource)) throw new OptionError(complaint);
    this.#taken.add(resource);
  }

  #object(id: string, types: RegExp, where: string): void {
    if (!types.test(this.#dependencies.objects.get(id) ?? "")) {
      throw new OptionError(`${where}Device '${id}' not found`);
    }
  }

  #blk({ properties }: Of<"virtio-blk-device">, where: string): void {
    const { drive, iothread } = properties;
    if (iothread !== undefined) this.#object(iothread, /^iothread$/, where);
    if (drive === undefined) throw new OptionError(`${where}drive property not set`);
    const kind = this.#dependencies.images.get(drive)?.kind;
    if (kind === undefined) {
      throw new OptionError(
        `${where}Property 'virtio-blk-device.drive' can't find value '${drive}'`,
      );
    }
    if (kind === "empty") {
      throw new OptionError(`${where}Device needs media, but drive is empty`);
    }
    if (kind === "drive") {
      this.#take(`drive ${drive}`, `${where}Drive '${drive}' is already in use by another device`);
    }
    for (const name of ["logical_block_size", "physical_block_size"] as const) {
      const size = properties[name];
      if (size !== 0 && !(size >= 512 && size <= 2097152 && isPowerOfTwo(size))) {
        throw new OptionError(
          `${where}parameter ${name} must be a power of 2 between 512 and 2097152`,
        );
      }
    }
    if (properties["num-queues"] === 0) {
      throw new OptionError(`${where}num-queues property must be larger than 0`);
    }
    const queueSize = properties["queue-size"];
    if (queueSize <= 2 || queueSize > 1024 || !isPowerOfTwo(queueSize)) {
      throw new OptionError(
        `${where}invalid queue-size property (${queueSize}), must be a power of 2 (max 1024)`,
      );
    }
  }

  #net({ properties }: Of<"virtio-net-device">, where: string): void {
    const { netdev, mac, duplex } = properties;
    if (
      mac !== undefined &&
      !/^[0-9a-fA-F]{2}(?:([:-])[0-9a-fA-F]{2})(?:\1[0-9a-fA-F]{2}){4}$/.test(mac)
    ) {
      throw new OptionError(`${where}Property 'virtio-net-device.mac' doesn't take value '${mac}'`);
    }
    if (netdev !== undefined) {
      const property = `${where}Property 'virtio-net-device.netdev' can't`;
      if (!this.#dependencies.netdevs.has(netdev)) {
        throw new OptionError(`${property} find value '${netdev}'`);
      }
      this.#take(`netdev ${netdev}`, `${property} take value '${netdev}', it's in use`);
    }
    if (duplex !== undefined && duplex !== "half" && duplex !== "full") {
      throw new OptionError(`${where}'duplex' must be 'half' or 'full'`);
    }
    for (const name of ["rx_queue_size", "tx_queue_size"] as const) {
      const size = properties[name];
      if (size < 256 || size > 1024 || !isPowerOfTwo(size)) {
        throw new OptionError(
          `${where}Invalid ${name} (= ${size}), must be a power of 2 between 256 and 1024.`,
        );
      }
    }
  }

  #rng({ properties }: Of<"virtio-rng-device">, where: string): void {
    const { rng, period } = properties;
    if (rng !== undefined) this.#object(rng, /^rng-/, where);
    if (properties["max-bytes"] === 0) {
      throw new OptionError(`${where}'max-bytes' parameter must be positive, and less than 2^63`);
    }
    if (period === 0) {
      throw new OptionError(`${where}'period' parameter expects a positive integer`);
    }
  }

  #serial({ id, properties }: Of<"virtio-serial-device">, where: string): void {
    const maxPorts = properties.max_ports;
    if (maxPorts === 0) {
      throw new OptionError(`${where}Maximum number of serial ports not specified`);
    }
    if (maxPorts > mostPorts) {
      throw new OptionError(`${where}maximum ports supported: ${mostPorts}`);
    }
    const name = id === undefined ? `virtio-serial-bus.${this.#serialBuses.length}` : `${id}.0`;
    this.#serialBuses.push({ name, maxPorts, taken: new Set() });
  }

  /** Finds a port's bus and number as QEMU does: the first bus with room, the lowest free number. */
  #port(device: Of<"virtconsole" | "virtserialport">, where: string): void {
    const { bus: name, driver, properties } = device;
    const { chardev, nr } = properties;
    if (chardev !== undefined) {
      const property = `${where}Property '${driver}.chardev' can't`;
      if (!this.#dependencies.chardevs.has(chardev)) {
        throw new OptionError(`${property} find value '${chardev}'`);
      }
    }
    const bus = name === undefined
      ? this.#serialBuses[0]
      : this.#serialBuses.find((bus) => bus.name === name);
    if (bus === undefined) {
      throw new OptionError(
        name === undefined
          ? `${where}No 'virtio-serial-bus' bus found for device '${driver}'`
          : `${where}Bus '${name}' not found`,
      );
    }
    // Port 0 is a console's.
    let number = nr;
    if (nr === 0xffffffff) {
      number = driver === "virtconsole" ? 0 : 1;
      while (bus.taken.has(number)) number++;
    } else if (nr === 0 && driver === "virtserialport") {
      throw new OptionError(
        `${where}Port number 0 on virtio-serial devices reserved for virtconsole devices ` +
          "for backward compatibility.",
      );
    }
    if (number >= bus.maxPorts) {
      throw new OptionError(
        `${where}virtio-serial-bus: Out-of-range port id specified, max. allowed: ${
          bus.maxPorts - 1
        }`,
      );
    }
    if (bus.taken.has(number)) {
      throw new OptionError(`${where}virtio-serial-bus: A port already exists at id ${number}`);
    }
    bus.taken.add(number);
  }
}
