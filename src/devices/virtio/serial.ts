/**
 * virtio-serial (Virtual I/O Device specification 1.2, chapter 5.3): consoles and ports, each with a queue
 * in both directions, and a pair of control queues.
 *
 *   driver: DEVICE_READY -> PORT_ADD for each port -> driver: PORT_READY -> CONSOLE_PORT or PORT_NAME,
 *   PORT_OPEN if the host's side is -> driver: PORT_OPEN when a program has opened the port
 *
 * Queues: 0 and 1 are port 0's input and output, 2 and 3 the control's, 2n + 2 and 2n + 3 port n's. A
 * driver without control queues has port 0 alone, always open.
 */
import { VirtqueueError } from "../../native/virtqueue.ts";
import { DeviceStateError } from "../device.ts";
import { type VirtioConsoleState, virtioConsoleState } from "./console_state.ts";
import { VirtioDevice, type VirtioHost } from "./device.ts";
import { gather, scatter, totalLength } from "./elements.ts";
import { bit, commonFeatures, type CommonProperties } from "./features.ts";
import type { Virtqueue } from "./queue.ts";
import { type PortOptions, SerialPort, type SerialPortState } from "./serial_port.ts";

const DATA_QUEUE_SIZE = 128;
const CONTROL_QUEUE_SIZE = 32;
const CONTROL_INPUT = 2;
const CONTROL_OUTPUT = 3;
const CONFIGURATION_SIZE = 12;
/** Offsets in the configuration space. */
const CONFIG_MAX_PORTS = 4;
const CONFIG_EMERGENCY_WRITE = 8;

const SerialFeature = { multiport: bit(1), emergencyWrite: bit(2) } as const;

/** Events of control messages. */
const Control = {
  deviceReady: 0,
  deviceAdd: 1,
  portReady: 3,
  consolePort: 4,
  portOpen: 6,
  portName: 7,
} as const;
/** Bytes of a control message: port, event, value. */
const CONTROL_SIZE = 8;

export interface SerialProperties extends CommonProperties {
  readonly maxPorts: number;
}

const section = virtioConsoleState(false);
type OwnState = VirtioConsoleState;

/** The device with its ports. */
export class VirtioSerial extends VirtioDevice<OwnState> {
  readonly name = "virtio-console";
  readonly deviceId = 3;
  readonly section = section;
  readonly queueMaximum: number;
  readonly configurationSize = CONFIGURATION_SIZE;
  readonly #properties: SerialProperties;
  readonly #ports: readonly SerialPort[];
  /** Ports whose host's side is other than the guest knows from the source of a migration. */
  readonly #toNotify = new Set<SerialPort>();

  constructor(properties: SerialProperties, ports: readonly PortOptions[]) {
    super();
    this.#properties = properties;
    this.queueMaximum = 2 * (properties.maxPorts + 1);
    const side = {
      openChanged: (port: SerialPort) =>
        this.#send(port.number, Control.portOpen, port.hostConnected ? 1 : 0),
      fail: (error: VirtqueueError) => this.host.fail(error),
    };
    this.#ports = ports.map((options) => new SerialPort(options, side));
  }

  override attach(host: VirtioHost): void {
    super.attach(host);
    for (const port of this.#ports) {
      const [input, output] = queuesOf(port.number);
      port.attach(host.memory, host.queues[input], host.queues[output]);
    }
  }

  queueSizes(): readonly number[] {
    return Array.from(
      { length: this.queueMaximum },
      (_, index) =>
        index === CONTROL_INPUT || index === CONTROL_OUTPUT ? CONTROL_QUEUE_SIZE : DATA_QUEUE_SIZE,
    );
  }

  features(legacy: boolean): bigint {
    return commonFeatures(this.#properties, legacy) | SerialFeature.emergencyWrite |
      (this.#properties.maxPorts > 1 ? SerialFeature.multiport : 0n);
  }

  readConfiguration(): Uint8Array {
    const bytes = new Uint8Array(CONFIGURATION_SIZE);
    new DataView(bytes.buffer).setUint32(CONFIG_MAX_PORTS, this.#properties.maxPorts, true);
    return bytes;
  }

  override writeConfiguration(offset: number, bytes: Uint8Array): void {
    if (offset !== CONFIG_EMERGENCY_WRITE) return;
    const console = this.#ports.find((port) => port.isConsole && port.hostConnected);
    console?.writeThrough(Uint8Array.of(bytes[0] ?? 0));
  }

  override negotiated(): void {
    for (const port of this.#ports) port.alwaysOpen = !this.#multiport;
  }

  startQueue(queue: Virtqueue): void {
    if (queue.index === CONTROL_OUTPUT) this.notified(queue);
    else this.#portOf(queue)?.queueStarted(queue);
  }

  override stopQueue(queue: Virtqueue): boolean {
    this.#portOf(queue)?.queueStopping(queue);
    return true;
  }

  override notified(queue: Virtqueue): void {
    try {
      if (queue.index === CONTROL_OUTPUT) this.#takeMessages(queue);
      else if (queue.index !== CONTROL_INPUT) this.#servePort(queue);
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      this.host.fail(error);
    }
  }

  override queuesStarted(): void {
    const [first] = this.#ports;
    if (!this.#multiport && first?.number === 0) first.setGuestConnected(true);
    for (const port of this.#toNotify) {
      this.#send(port.number, Control.portOpen, port.hostConnected ? 1 : 0);
    }
    this.#toNotify.clear();
  }

  reset(): void {
    for (const port of this.#ports) port.reset();
    this.#toNotify.clear();
  }

  saveOwn(): OwnState {
    return {
      cols: 0,
      rows: 0,
      maxNrPorts: this.#properties.maxPorts,
      portsMap: this.#map(),
      ports: this.#ports.map((port) => port.save()),
    };
  }

  override checkOwn({ portsMap, ports }: OwnState): void {
    if (portsMap.join() !== this.#map().join()) {
      throw new DeviceStateError(
        `the ports are others than at the source: map ${portsMap}, here ${this.#map()}`,
      );
    }
    for (const { id } of ports) {
      if (!this.#ports.some((port) => port.number === id)) {
        throw new DeviceStateError(`there is no port ${id}`);
      }
    }
  }

  loadOwn({ ports }: OwnState): void {
    for (const state of ports) {
      const port = this.#ports.find(({ number }) => number === state.id);
      if (port === undefined) continue;
      port.load(state as SerialPortState);
      if ((state.hostConnected !== 0) !== port.hostConnected) this.#toNotify.add(port);
    }
  }

  override [Symbol.dispose](): void {
    for (const port of this.#ports) port[Symbol.dispose]();
  }

  get #multiport(): boolean {
    return this.has(SerialFeature.multiport);
  }

  /** Bit n of word n / 32: port n exists. Port 0 always counts: it is a console's place. */
  #map(): number[] {
    const words = new Uint32Array(Math.ceil(this.#properties.maxPorts / 32));
    words[0] = 1;
    for (const { number } of this.#ports) words[number >> 5]! |= 1 << (number & 31);
    return Array.from(words);
  }

  #portOf(queue: Virtqueue): SerialPort | undefined {
    return this.#ports.find(({ number }) => queuesOf(number).includes(queue.index));
  }

  #servePort(queue: Virtqueue): void {
    const port = this.#portOf(queue);
    if (port) port.notified(queue);
    else if ((queue.index & 1) === 1) discard(queue);
  }

  #takeMessages(queue: Virtqueue): void {
    queue.serve((request) => {
      const message = gather(this.host.memory, request.out, CONTROL_SIZE);
      queue.push(request, 0);
      if (message.length === CONTROL_SIZE) this.#handleCommand(new DataView(message.buffer));
      return true;
    });
  }

  #handleCommand(message: DataView): void {
    const number = message.getUint32(0, true);
    const event = message.getUint16(4, true);
    const value = message.getUint16(6, true);
    if (event === Control.deviceReady) {
      if (value === 0) return;
      for (const port of this.#ports) this.#send(port.number, Control.deviceAdd, 1);
      return;
    }
    const port = this.#ports.find((candidate) => candidate.number === number);
    if (port === undefined) return;
    if (event === Control.portReady && value !== 0) {
      if (port.isConsole) this.#send(number, Control.consolePort, 1);
      if (port.name !== undefined) this.#send(number, Control.portName, 1, port.name);
      if (port.hostConnected) this.#send(number, Control.portOpen, 1);
    } else if (event === Control.portOpen) {
      port.setGuestConnected(value !== 0);
    }
  }

  /** Sends a control message, or drops it if the driver has no room, as it must expect. */
  #send(port: number, event: number, value: number, text?: string): void {
    const queue = this.host.queues[CONTROL_INPUT];
    if (!this.#multiport || queue === undefined || !queue.live) return;
    try {
      const request = queue.pop();
      if (request === undefined) return;
      const name = text === undefined ? [] : [...new TextEncoder().encode(text), 0];
      const message = new Uint8Array(CONTROL_SIZE + name.length);
      const view = new DataView(message.buffer);
      view.setUint32(0, port, true);
      view.setUint16(4, event, true);
      view.setUint16(6, value, true);
      message.set(name, CONTROL_SIZE);
      const room = Math.min(totalLength(request.in), message.length);
      queue.push(request, scatter(this.host.memory, request.in, message.subarray(0, room)));
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      this.host.fail(error);
    }
  }
}

/** Indexes of a port's input and output. */
function queuesOf(number: number): [input: number, output: number] {
  const first = number === 0 ? 0 : 2 * number + 2;
  return [first, first + 1];
}

/** Output of a port that does not exist. */
function discard(queue: Virtqueue): void {
  queue.serve((request) => {
    queue.push(request, 0);
    return true;
  });
}
