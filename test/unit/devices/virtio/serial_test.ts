/** virtio-serial: consoles and ports, as Linux' driver uses them. */
import { assertEquals, assertThrows } from "@std/assert";
import { VirtioSerial } from "../../../../src/devices/virtio/serial.ts";
import type { CharacterFrontend } from "../../../../src/backends/character.ts";
import { allFeatures, type DriverQueue } from "../../../support/virtio_driver.ts";
import { MemoryBackend } from "../dependencies.ts";
import { commonDefaults } from "./properties.ts";
import { Workbench, type WorkbenchMemory } from "./workbench.ts";

const MULTIPORT = 1n << 1n;
const Event = {
  deviceReady: 0,
  portAdd: 1,
  portReady: 3,
  consolePort: 4,
  portOpen: 6,
  portName: 7,
} as const;

/** A character device whose other end comes and goes. */
class Line extends MemoryBackend {
  #frontend: CharacterFrontend | undefined;

  override attach(frontend: CharacterFrontend): void {
    super.attach(frontend);
    this.#frontend = frontend;
  }

  connect(open: boolean): void {
    this.#frontend?.event(open ? "opened" : "closed");
  }
}

/** A console at port 0 and the guest agent's port at 1. */
class SerialBench implements AsyncDisposable {
  readonly console = new Line();
  readonly agent = new Line();
  /** What the guest's programs did to the agent's port. */
  readonly connections: boolean[] = [];
  readonly bench;
  control!: { in: DriverQueue; out: DriverQueue };

  constructor(memory?: WorkbenchMemory, start = true) {
    const port = { backend: this.console, guestConnectionChanged: () => {} };
    this.bench = new Workbench(
      () =>
        new VirtioSerial({ ...commonDefaults, maxPorts: 4 }, [
          { ...port, number: 0, name: undefined, isConsole: true },
          {
            number: 1,
            name: "org.qemu.guest_agent.0",
            isConsole: false,
            backend: this.agent,
            guestConnectionChanged: (open) => this.connections.push(open),
          },
        ]),
      { start, ...(memory ? { memory } : {}) },
    );
  }

  /** Sets the queues of port `number` up. */
  async port(number: number): Promise<{ in: DriverQueue; out: DriverQueue }> {
    const first = number === 0 ? 0 : 2 * number + 2;
    const { driver } = this.bench;
    return { in: await driver.queue(first, 16), out: await driver.queue(first + 1, 16) };
  }

  async begin(): Promise<void> {
    const { driver } = this.bench;
    await driver.begin(allFeatures());
    this.control = { in: await driver.queue(2, 16), out: await driver.queue(3, 16) };
  }

  async ready(): Promise<void> {
    await this.bench.driver.ready();
    for (let i = 0; i < 8; i++) await this.control.in.add([{ in: 64 }]);
    await this.control.in.notify();
  }

  async notify(port: number, event: number, value: number): Promise<void> {
    const message = new Uint8Array(8);
    const view = new DataView(message.buffer);
    view.setUint32(0, port, true);
    view.setUint16(4, event, true);
    view.setUint16(6, value, true);
    await this.control.out.request([{ out: message }]);
  }

  /** The next message: port, event, value, and what follows. */
  async reported(): Promise<[number, number, number, string]> {
    const { in: [bytes = new Uint8Array(8)], written } = await this.control.in.completed();
    const view = new DataView(bytes.buffer);
    const rest = new TextDecoder().decode(bytes.subarray(8, written));
    await this.control.in.add([{ in: 64 }]);
    return [view.getUint32(0, true), view.getUint16(4, true), view.getUint16(6, true), rest];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.bench[Symbol.asyncDispose]();
  }
}

function bytes(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text).slice();
}

function text(piece: Uint8Array | undefined): string {
  return new TextDecoder().decode(piece);
}

Deno.test("ports are announced, named, opened; bytes go both ways", async () => {
  await using serial = new SerialBench();
  await serial.begin();
  const console = await serial.port(0);
  const agent = await serial.port(1);
  await serial.ready();
  await serial.notify(0, Event.deviceReady, 1);
  assertEquals(await serial.reported(), [0, Event.portAdd, 1, ""]);
  assertEquals(await serial.reported(), [1, Event.portAdd, 1, ""]);
  await serial.notify(0, Event.portReady, 1);
  assertEquals(await serial.reported(), [0, Event.consolePort, 1, ""]);
  assertEquals(await serial.reported(), [0, Event.portOpen, 1, ""]);
  await serial.notify(1, Event.portReady, 1);
  assertEquals(await serial.reported(), [1, Event.portName, 1, "org.qemu.guest_agent.0\0"]);

  // Nobody at the host's side yet: what the guest says is lost.
  await agent.out.request([{ out: bytes("lost") }]);
  serial.agent.connect(true);
  assertEquals(await serial.reported(), [1, Event.portOpen, 1, ""]);
  await serial.notify(1, Event.portOpen, 1);
  assertEquals(serial.connections, [true]);
  await agent.out.request([{ out: bytes("{pong") }, { out: bytes("}\n") }]);
  assertEquals(serial.agent.text, "{pong}\n");
  await agent.in.add([{ in: 4 }]);
  await agent.in.add([{ in: 100 }]);
  await agent.in.notify();
  serial.agent.input(...bytes("{ping}\n"));
  assertEquals(text((await agent.in.completed()).in[0]), "{pin");
  const rest = await agent.in.completed();
  assertEquals([text(rest.in[0]?.slice(0, 3)), rest.written], ["g}\n", 3]);

  await serial.notify(0, Event.portOpen, 1);
  await console.out.request([{ out: bytes("login: ") }]);
  assertEquals(serial.console.text, "login: ");
  serial.console.input(...bytes("root\n"));
  await console.in.add([{ in: 16 }]);
  await console.in.notify();
  assertEquals(text((await console.in.completed()).in[0]).replace(/\0+$/, ""), "root\n");

  await serial.notify(1, Event.portOpen, 0);
  serial.agent.connect(false);
  assertEquals(await serial.reported(), [1, Event.portOpen, 0, ""]);
  assertEquals(serial.connections, [true, false]);
});

Deno.test("input waits until a program in the guest has the port open", async () => {
  await using serial = new SerialBench();
  await serial.begin();
  const agent = await serial.port(1);
  await serial.ready();
  await agent.in.add([{ in: 100 }]);
  await agent.in.notify();
  serial.agent.connect(true);
  serial.agent.input(...bytes("early"));
  assertEquals(await agent.in.usedIndex(), 0);
  await serial.notify(1, Event.portOpen, 1);
  assertEquals((await agent.in.completed()).written, 5);
});

Deno.test("a driver without several ports has the console, always open", async () => {
  await using serial = new SerialBench();
  const { driver } = serial.bench;
  await driver.begin(allFeatures(MULTIPORT));
  const console = await serial.port(0);
  await driver.ready();
  await console.out.request([{ out: bytes("hello") }]);
  await console.in.add([{ in: 10 }]);
  await console.in.notify();
  serial.console.input(1, 2, 3);
  assertEquals([serial.console.text, (await console.in.completed()).written], ["hello", 3]);
});

Deno.test("a port whose other end is full keeps its output; a console drops it", async () => {
  await using serial = new SerialBench();
  await serial.begin();
  const console = await serial.port(0);
  const agent = await serial.port(1);
  await serial.ready();
  serial.agent.connect(true);
  await serial.notify(1, Event.portOpen, 1);
  serial.agent.room = 6;
  await agent.out.add([{ out: bytes("0123") }, { out: bytes("4567") }]);
  await agent.out.add([{ out: bytes("89") }]);
  await agent.out.notify();
  assertEquals([serial.agent.text, await agent.out.usedIndex()], ["012345", 0]);
  serial.agent.drain(1);
  assertEquals([serial.agent.text, await agent.out.usedIndex()], ["0123456", 0]);
  serial.agent.drain(100);
  assertEquals([serial.agent.text, await agent.out.usedIndex()], ["0123456789", 2]);

  serial.console.room = 2;
  await console.out.request([{ out: bytes("dropped") }]);
  assertEquals(serial.console.text, "dr");
});

Deno.test("output that waits is moved, and goes on at the byte where it stopped", async () => {
  await using source = new SerialBench();
  await source.begin();
  const agent = await source.port(1);
  await source.ready();
  source.agent.connect(true);
  await source.notify(1, Event.portOpen, 1);
  source.agent.room = 5;
  await agent.out.add([{ out: bytes("abc") }, { out: bytes("defg") }]);
  await agent.out.add([{ out: bytes("hi") }]);
  await agent.in.add([{ in: 8 }]);
  await agent.out.notify();
  assertEquals(source.agent.text, "abcde");
  const saved = source.bench.save();

  await using target = new SerialBench(source.bench.memory, false);
  target.agent.connect(true);
  target.bench.load(saved);
  assertEquals(target.bench.save(), saved);
  target.agent.takeOver(source.agent);
  target.agent.room = Infinity;
  target.bench.transport.runStateChanged(true);
  assertEquals([target.agent.text, await agent.out.usedIndex()], ["abcdefghi", 2]);
  // The program in the guest still has the port open.
  assertEquals(target.connections, [true]);
  target.agent.input(...bytes("x"));
  assertEquals((await agent.in.completed()).written, 1);
});

Deno.test("a move to where nobody is at the host's side is reported to the guest", async () => {
  await using source = new SerialBench();
  await source.begin();
  await source.ready();
  source.agent.connect(true);
  assertEquals(await source.reported(), [1, Event.portOpen, 1, ""]);
  await source.control.in.notify();
  const saved = source.bench.save();
  await using target = new SerialBench(source.bench.memory, false);
  target.bench.load(saved);
  target.bench.transport.runStateChanged(true);
  assertEquals(await source.reported(), [1, Event.portOpen, 0, ""]);
});

Deno.test("a state with other ports, or with output outside of RAM, is refused", async () => {
  await using source = new SerialBench();
  await source.begin();
  const agent = await source.port(1);
  await source.ready();
  source.agent.connect(true);
  source.agent.room = 0;
  await agent.out.add([{ out: bytes("abc") }]);
  await agent.out.notify();
  source.bench.transport.runStateChanged(false);
  const good = source.bench.transport.save();
  await using target = new SerialBench(source.bench.memory, false);
  const load = (change: (state: typeof good) => void) => {
    const state = structuredClone(good);
    change(state);
    target.bench.transport.load(state);
  };
  load(() => {});
  assertThrows(() => load((s) => s.device.portsMap[0] = 7), Error, "ports");
  assertThrows(() => load((s) => s.device.ports[0]!.id = 9), Error, "no port 9");
  assertThrows(
    () =>
      load((s) => {
        const { element } = s.device.ports[1]!.element!;
        Object.assign(element.out[0]!, { address: 1n << 40n });
      }),
    Error,
    "not in RAM",
  );
  assertThrows(
    () => load((s) => s.device.ports[1]!.element!.iovIndex = 5),
    Error,
    "output stopped",
  );
});
