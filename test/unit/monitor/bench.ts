/** What monitor tests share: monitors over real sockets, on a machine that is nothing but data. */
import { ParameterStore } from "../../../src/migration/parameters.ts";
import type { CpuRegisters, MonitorContext } from "../../../src/monitor/context.ts";
import { EventHub } from "../../../src/monitor/events.ts";
import { type MonitorOptions, Monitors } from "../../../src/monitor/monitors.ts";
import { ObjectTree } from "../../../src/monitor/object_tree.ts";
import type { Descriptor, Fd } from "../../../src/native/descriptor.ts";
import { connect, receive, send } from "../../../src/native/socket.ts";
import { Bench, bytesOf, until } from "../backends/bench.ts";

const segment = { selector: 0, base: 0n, limit: 0xffff, flags: 0x9300 };

/** A vCPU at the reset vector. */
const registers: CpuRegisters = {
  general: Array.from({ length: 16 }, (_, index) => BigInt(index)),
  rip: 0xfff0n,
  rflags: 2n,
  segments: {
    ES: segment,
    CS: { selector: 0xf000, base: 0xffff0000n, limit: 0xffff, flags: 0x9b00 },
    SS: segment,
    DS: segment,
    FS: segment,
    GS: segment,
    LDT: { ...segment, flags: 0x8200 },
    TR: { ...segment, flags: 0x8b00 },
  },
  gdt: { base: 0n, limit: 0xffff },
  idt: { base: 0n, limit: 0xffff },
  cr0: 0x60000010n,
  cr2: 0n,
  cr3: 0n,
  cr4: 0n,
  efer: 0n,
  debug: [0n, 0n, 0n, 0n, 0xffff0ff0n, 0x400n],
  halted: false,
};

/** Guest memory of 64 KiB in which byte N is N modulo 251. */
const memory = Uint8Array.from({ length: 65536 }, (_, index) => index % 251);

/** A human or a QMP client. */
export class Client implements Disposable {
  readonly #socket: Descriptor;
  text = "";

  constructor(socket: Descriptor) {
    this.#socket = socket;
  }

  get fd(): Fd {
    return this.#socket.fd;
  }

  send(text: string, passengers: readonly Fd[] = []): void {
    const bytes = bytesOf(text);
    const sent = send(this.fd, bytes, passengers);
    if (sent !== bytes.length) throw new Error(`Only ${sent} bytes were taken`);
  }

  /** Takes in what has arrived. */
  read(): void {
    const buffer = new Uint8Array(65536);
    for (;;) {
      const received = receive(this.fd, buffer);
      if (received === undefined || received.length === 0) return;
      this.text += new TextDecoder().decode(buffer.subarray(0, received.length));
    }
  }

  /** Waits for `pattern` and takes everything to its end out of the text. */
  async expect(pattern: RegExp): Promise<string> {
    let end = -1;
    await until(() => {
      this.read();
      const match = pattern.exec(this.text);
      if (match !== null) end = match.index + match[0].length;
      return end >= 0;
    });
    const taken = this.text.slice(0, end);
    this.text = this.text.slice(end);
    return taken;
  }

  /** The next QMP message. */
  async message(): Promise<unknown> {
    return JSON.parse(await this.expect(/\r\n/));
  }

  /** The next QMP message as the line it is. */
  async line(): Promise<string> {
    return (await this.expect(/\r\n/)).trimEnd();
  }

  /** Sends a QMP request and returns the next message. */
  ask(request: unknown): Promise<unknown> {
    this.send(JSON.stringify(request));
    return this.message();
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** Monitors over sockets. */
export class MonitorBench extends Bench {
  readonly events = new EventHub(this.loop);
  readonly calls: string[] = [];
  readonly context: MonitorContext = this.#makeContext();
  readonly monitors = new Monitors(this.context, this.events);
  #running = true;
  #monitorCount = 0;

  /** A monitor that listens on a socket, whose path it returns. */
  async listen(options: MonitorOptions = { mode: "control", pretty: false }): Promise<string> {
    const id = `monitor${this.#monitorCount++}`;
    const path = this.path(id);
    await this.create({ id, backend: "socket", path, server: "on", wait: "off" });
    this.monitors.add(this.chardevs.port(id), options);
    return path;
  }

  async connect(path: string): Promise<Client> {
    return new Client(await connect({ kind: "unix", path }));
  }

  /** A QMP client that has negotiated. */
  async client(path: string, capabilities: readonly string[] = []): Promise<Client> {
    const client = await this.connect(path);
    await client.message();
    await client.ask({ execute: "qmp_capabilities", arguments: { enable: capabilities } });
    return client;
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    this.monitors[Symbol.dispose]();
    this.events[Symbol.dispose]();
    await super[Symbol.asyncDispose]();
  }

  #makeContext(): MonitorContext {
    const objects = new ObjectTree();
    objects.add("/machine", {
      type: "microvm-machine",
      properties: { acpi: { type: "OnOffAuto", get: () => "auto" } },
    });
    objects.add("/machine/peripheral/disk0", { type: "virtio-blk-device" });
    return {
      machine: {
        status: () => ({
          status: this.#running ? "running" : "paused",
          running: this.#running,
        }),
        stop: () => this.#setRunning(false),
        cont: () => this.#setRunning(true),
        reset: () => void this.calls.push("reset"),
        powerDown: () => void this.calls.push("power down"),
        injectNmi: () => void this.calls.push("nmi"),
        wakeUp: () => {
          throw new Error("wake-up from suspend is not supported by this guest");
        },
        quit: () => void this.calls.push("quit"),
        setEndPolicy: (change) => void this.calls.push(`policy ${JSON.stringify(change)}`),
      },
      identity: {
        name: "bench",
        uuid: "00000000-0000-0000-0000-000000000001",
        package: "molt test",
      },
      capabilities: {
        accelerators: { enabled: "kvm", present: ["kvm"] },
        machineTypes: [{
          acpi: true,
          name: "microvm",
          maximumCpus: 8,
          defaultCpuType: "host-x86_64-cpu",
          defaultRamId: "microvm.ram",
        }],
        isDeviceModel: (driver) => driver === "virtio-blk-device",
      },
      cpus: {
        list: () =>
          [0, 1].map((index) => ({
            index,
            threadId: 100 + index,
            type: "host-x86_64-cpu",
            path: `/machine/unattached/device[${index}]`,
            socketId: 0,
            coreId: index,
            smtId: 0,
          })),
        registers: () => registers,
      },
      ports: {
        read: (port, size) => port === 0x3f9 && size === 1 ? 5 : 2 ** (8 * size) - 1,
        write: (port, size, value) => this.calls.push(`out ${port} ${size} ${value}`),
      },
      memory: {
        backends: () => [{
          id: "ram0",
          size: memory.length,
          merge: true,
          dump: true,
          prealloc: false,
          share: true,
          reserve: true,
        }],
        ramBlocks: () => [{
          name: "ram0",
          pageSize: 4096,
          offset: 0,
          used: memory.length,
          total: memory.length,
          hostAddress: 0x7f0000000000n,
          readOnly: false,
        }],
        addressSpaces: () => [{
          name: "memory",
          regions: [{ name: "ram0", kind: "ram", start: 0, length: memory.length }],
        }],
        size: memory.length,
        readPhysical: (address, length) =>
          address + length > memory.length ? undefined : memory.slice(address, address + length),
        // The first page is seen at 0xffff000000000000, too; nothing is mapped above the memory.
        translate: (_cpu, address) => {
          const physical = Number(address & 0xffff_ffffn);
          return physical < memory.length ? physical : undefined;
        },
      },
      block: {
        devices: () => [{
          id: "d0",
          qdev: "disk0",
          inserted: "node0",
          ioStatus: "ok",
          statistics: {
            read: { bytes: 8192, operations: 2, failed: 0, invalid: 0, time: 5000 },
            write: { bytes: 512, operations: 1, failed: 1, invalid: 0, time: 700 },
            flush: { bytes: 0, operations: 3, failed: 0, invalid: 0, time: 90 },
            unmap: { bytes: 0, operations: 0, failed: 0, invalid: 0, time: 0 },
          },
        }],
        nodes: () => [{
          nodeName: "node0",
          driver: "raw",
          filename: "/images/disk.raw",
          readOnly: false,
          active: true,
          cache: { writeback: true, direct: false, noFlush: false },
          detectZeroes: "off",
          virtualSize: 1 << 20,
          actualSize: 4096,
          children: [],
        }],
      },
      network: {
        announce: (parameters, choice) => {
          this.calls.push(`announce ${JSON.stringify(parameters)} ${JSON.stringify(choice)}`);
        },
        cards: () => [{
          name: "net0",
          driver: "virtio-net-device",
          backend: { id: "n0", description: "type=tap,ifname=tap0" },
          filter: {
            address: "52:54:00:12:34:56",
            promiscuous: false,
            multicast: "normal",
            unicast: "normal",
            vlan: "all",
            broadcast: true,
            multicastOverflow: false,
            unicastOverflow: false,
            vlans: [],
            unicastTable: [],
            multicastTable: ["33:33:00:00:00:01"],
          },
        }],
        unused: () => [{ id: "n1", description: "type=dgram" }],
        setLink: (name, up) => {
          if (name !== "net0") return false;
          this.calls.push(`link ${up}`);
          return true;
        },
      },
      balloon: {
        actual: 64 << 20,
        setTarget: (bytes) => void this.calls.push(`balloon ${bytes}`),
      },
      iothreads: [{ id: "io0", threadId: 200, pollMaxNs: 32768 }],
      chardevs: this.chardevs,
      descriptors: this.descriptors,
      objects,
      migration: {
        parameters: new ParameterStore().values,
        setParameters: () => {},
        setParameterFromText: () => {},
        describeParameters: () => [],
        setCapabilities: () => {},
        listCapabilities: () => [],
        start: () => void this.calls.push("migrate"),
        startIncoming: () => Promise.resolve(),
        cancel: () => void this.calls.push("cancel"),
        yankable: false,
        yank: () => void this.calls.push("yank"),
        continueFrom: () => {},
        underWay: false,
        ended: Promise.resolve(),
        query: () => ({}),
      },
      update: {
        query: () => ({
          phases: [],
          ...{ generation: 0, pid: 1, version: "test", build: "test" },
          launch: { command: ["molt"], directory: "/" },
        }),
        check: () =>
          Promise.resolve({ result: "unknown", reason: "nobody is asked here" } as const),
        rename: (from) => {
          throw new Error(`'${from}' is no file of a test`);
        },
      },
    };
  }

  #setRunning(running: boolean): void {
    if (running === this.#running) return;
    this.#running = running;
    this.events.emit({ name: running ? "RESUME" : "STOP" });
  }
}
