/** A network card on a workbench, with the backend that a -netdev gives it. */
import type { NetworkBackend } from "../../../../src/backends/network/backend.ts";
import {
  type NetworkEnvironment,
  openNetworkBackend,
} from "../../../../src/backends/network/open.ts";
import type { NetdevConfig } from "../../../../src/configuration/network.ts";
import { VirtioNet } from "../../../../src/devices/virtio/net.ts";
import type { NetProperties } from "../../../../src/devices/virtio/net_properties.ts";
import type { VirtioNetState } from "../../../../src/devices/virtio/net_state.ts";
import { type Descriptor, duplicate } from "../../../../src/native/descriptor.ts";
import { EventLoop } from "../../../../src/native/event_loop.ts";
import { allFeatures } from "../../../support/virtio_driver.ts";
import { NetDriver, type NetDriverOptions } from "../../../support/net_driver.ts";
import { netDefaults } from "./properties.ts";
import { Workbench, type WorkbenchMemory } from "./workbench.ts";

/** The address of the card. */
export const CARD = [...netDefaults.address];
export const BROADCAST = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

export interface NetBenchOptions {
  readonly netdev: NetdevConfig;
  readonly properties?: Partial<NetProperties>;
  readonly legacy?: boolean;
  /** That of a card before this one, whose guest goes on with this one. */
  readonly memory?: WorkbenchMemory;
  readonly start?: boolean;
  /** What the process before this one hands over. */
  readonly adopt?: (name: string, id: number) => Descriptor | undefined;
  /** Of descriptors that a monitor was given. */
  readonly named?: Record<string, Descriptor>;
}

/** A card and its backend. */
export class NetBench implements AsyncDisposable {
  readonly backend: NetworkBackend;
  readonly bench: Workbench<VirtioNetState>;
  readonly reported: string[];
  device!: VirtioNet;
  readonly #backendLoop: EventLoop;
  readonly #running: Promise<void>;

  private constructor(
    backend: NetworkBackend,
    backendLoop: EventLoop,
    reported: string[],
    { properties, ...options }: NetBenchOptions,
  ) {
    this.backend = backend;
    this.reported = reported;
    this.#backendLoop = backendLoop;
    this.bench = new Workbench(({ loop }) => {
      this.device = new VirtioNet(backend, { ...netDefaults, ...properties }, loop);
      return this.device;
    }, {
      memorySize: 16 << 20,
      ...(options.legacy === undefined ? {} : { legacy: options.legacy }),
      ...(options.memory === undefined ? {} : { memory: options.memory }),
      ...(options.start === undefined ? {} : { start: options.start }),
    });
    this.#running = backendLoop.run();
  }

  static async open(options: NetBenchOptions): Promise<NetBench> {
    const loop = new EventLoop();
    const reported: string[] = [];
    const environment: NetworkEnvironment = {
      loop,
      adopt: options.adopt ?? (() => undefined),
      takeNamedDescriptor: (name) => options.named?.[name],
      report: (message) => reported.push(message),
    };
    try {
      const backend = await openNetworkBackend(options.netdev, environment);
      return new NetBench(backend, loop, reported, options);
    } catch (error) {
      loop[Symbol.dispose]();
      throw error;
    }
  }

  /** Sets the card up as a driver does. */
  setUp(options: Partial<NetDriverOptions> = {}): Promise<NetDriver> {
    return NetDriver.begin(this.bench.driver, { features: allFeatures(), ...options });
  }

  /** What a process after this one gets: duplicates, since this one lives on. */
  handOver(): (name: string, id: number) => Descriptor | undefined {
    const kept = new Map(
      this.backend.descriptors().map(({ name, id, fd }) => [`${name} ${id}`, duplicate(fd)]),
    );
    return (name, id) => kept.get(`${name} ${id}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.bench[Symbol.asyncDispose]();
    this.backend[Symbol.dispose]();
    this.#backendLoop.stop();
    await this.#running;
    this.#backendLoop[Symbol.dispose]();
  }
}
