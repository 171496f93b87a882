/**
 * virtio-blk and virtio-net beside QEMU's, in one run: a small guest drives the queues. Prints a Markdown
 * table of requests a second and of their ratio, molt's to the better of QEMU's ways.
 *
 *   deno task bench:virtio [--rounds N] [--only TEXT] [--molt PROGRAM] [--qemu PROGRAM]
 *
 * The contenders take turns, so that what else the machine does meets all alike; medians are shown. Taps
 * are made in a network namespace; where that is not allowed, they are left out, and the table says so.
 */
import { parseArgs } from "@std/cli/parse-args";

const root = new URL("..", import.meta.url).pathname;
const flags = parseArgs(Deno.args, {
  string: ["rounds", "only", "molt", "qemu"],
  default: {
    rounds: "7",
    only: "",
    molt: `${Deno.execPath()} run --allow-ffi --allow-read ${root}main.ts`,
    qemu: `sh ${root}scripts/peer_qemu.sh`,
  },
});
const rounds = Number(flags.rounds);

/** Set in the process that runs in the namespace. */
const IN_NAMESPACE = "MOLT_BENCH_NAMESPACE";

/** The interrupt of the first device on a board without ACPI. */
const GSI = 12;
const DISK_SIZE = 64 << 20;

/** A monitor and how its devices are set up. */
interface Contender {
  readonly name: string;
  readonly program: string;
  /** Options of the machine. */
  readonly machine?: readonly string[];
  /** Properties of -drive and -device. */
  readonly drive?: string;
  readonly disk?: string;
}

const molt: Contender = { name: "molt", program: flags.molt };
const qemu: Contender = { name: "QEMU", program: flags.qemu };
const qemuThread: Contender = {
  name: "QEMU, iothread",
  program: flags.qemu,
  machine: ["-object", "iothread,id=io0"],
  disk: ",iothread=io0",
};

interface Case {
  readonly name: string;
  readonly guest: "virtio_blk" | "virtio_net";
  readonly append: string;
  /** In a measurement; bytes in each. */
  readonly requests: number;
  readonly size: number;
  readonly kind: "disk" | "direct disk" | "stream" | "tap";
}

function disk(
  name: string,
  kind: "disk" | "direct disk",
  op: "read" | "write",
  size: number,
  depth: number,
  requests: number,
): Case {
  const append = `op=${op === "write" ? 1 : 0} size=${size} depth=${depth} random=1 span=32`;
  return { name, guest: "virtio_blk", append, requests, size, kind };
}

function card(
  name: string,
  kind: "stream" | "tap",
  op: "send" | "receive" | "echo",
  size: number,
  depth: number,
  requests: number,
): Case {
  const number = { send: 0, receive: 1, echo: 2 }[op];
  const append = `op=${number} size=${size} depth=${depth}`;
  return { name, guest: "virtio_net", append, requests, size, kind };
}

const cases: readonly Case[] = [
  disk("blk: read 4 KiB, one at a time", "disk", "read", 4096, 1, 3000),
  disk("blk: read 4 KiB, 16 at a time", "disk", "read", 4096, 16, 20000),
  disk("blk: read 128 KiB, 8 at a time", "disk", "read", 131072, 8, 3000),
  disk("blk: write 4 KiB, one at a time", "disk", "write", 4096, 1, 3000),
  disk("blk: write 4 KiB, 16 at a time", "disk", "write", 4096, 16, 20000),
  disk("blk: write 128 KiB, 8 at a time", "disk", "write", 131072, 8, 3000),
  disk("blk, O_DIRECT: read 4 KiB, one at a time", "direct disk", "read", 4096, 1, 1000),
  disk("blk, O_DIRECT: read 4 KiB, 16 at a time", "direct disk", "read", 4096, 16, 3000),
  disk("blk, O_DIRECT: write 128 KiB, 8 at a time", "direct disk", "write", 131072, 8, 300),
  card("net, stream: send 64 bytes", "stream", "send", 64, 16, 20000),
  card("net, stream: send 1512 bytes", "stream", "send", 1512, 16, 20000),
  card("net, stream: receive 1512 bytes", "stream", "receive", 1512, 1, 20000),
  card("net, stream: there and back, one at a time", "stream", "echo", 64, 1, 2000),
  card("net, stream: there and back, 16 at a time", "stream", "echo", 1512, 16, 10000),
  card("net, tap: send 1512 bytes", "tap", "send", 1512, 16, 20000),
  card("net, tap: receive 1512 bytes", "tap", "receive", 1512, 1, 20000),
  card("net, tap: there and back, one at a time", "tap", "echo", 64, 1, 2000),
  card("net, tap: there and back, 16 at a time", "tap", "echo", 1512, 16, 10000),
];

/** A directory, and the processes that are not to outlive it. */
class Bench implements AsyncDisposable {
  readonly folder = Deno.makeTempDirSync({ prefix: "molt-bench-" });
  readonly #children: Deno.ChildProcess[] = [];
  #files = 0;

  file(name: string): string {
    return `${this.folder}/${this.#files++}-${name}`;
  }

  spawn(command: readonly string[]): Deno.ChildProcess {
    const [program = "", ...args] = command;
    const child = new Deno.Command(program, {
      args,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.#children.push(child);
    return child;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children.reverse()) {
      try {
        child.kill("SIGKILL");
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // it has ended
      }
      await child.status;
    }
    Deno.removeSync(this.folder, { recursive: true });
  }
}

/** The guest's serial line. */
class Guest {
  readonly #connection: Deno.UnixConn;
  #text = "";

  private constructor(connection: Deno.UnixConn) {
    this.#connection = connection;
  }

  static async connect(path: string): Promise<Guest> {
    for (let attempt = 0;; attempt++) {
      try {
        return new Guest(await Deno.connect({ transport: "unix", path }));
      } catch (error) {
        if (attempt > 1000) throw error;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  }

  async line(): Promise<string> {
    for (;;) {
      const end = this.#text.indexOf("\n");
      if (end >= 0) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 1);
        return line;
      }
      const buffer = new Uint8Array(4096);
      const count = await this.#connection.read(buffer);
      if (count === null) throw new Error(`the machine has ended: ${this.#text}`);
      this.#text += new TextDecoder().decode(buffer.subarray(0, count));
    }
  }

  /** Requests a second. */
  async measure(): Promise<number> {
    await this.#connection.write(Uint8Array.of(10));
    const line = await this.line();
    const match = line.match(/^done requests=(\d+) ns=(\d+) errors=(\d+)$/);
    if (match === null || match[3] !== "0" || match[1] === "0") throw new Error(line);
    return Number(match[1]) / Number(match[2]) * 1e9;
  }
}

/** Devices of a contender for a case. */
function devices(
  { kind }: Case,
  contender: Contender,
  { image, echo, tap }: { image: string; echo: string; tap: string },
): string[] {
  switch (kind) {
    case "disk":
    case "direct disk": {
      const cache = kind === "disk" ? "writeback" : "none";
      const drive = `if=none,id=d0,file=${image},format=raw,cache=${cache}${contender.drive ?? ""}`;
      return ["-drive", drive, "-device", `virtio-blk-device,drive=d0${contender.disk ?? ""}`];
    }
    case "stream":
      return [
        ...["-netdev", `stream,id=n0,server=off,addr.type=unix,addr.path=${echo}`],
        ...["-device", "virtio-net-device,netdev=n0"],
      ];
    case "tap":
      return [
        ...["-netdev", `tap,id=n0,ifname=${tap},script=no,downscript=no`],
        ...["-device", "virtio-net-device,netdev=n0"],
      ];
  }
}

let taps = 0;

/** Starts a contender's machine. */
async function start(
  bench: Bench,
  peer: string,
  test: Case,
  contender: Contender,
): Promise<Guest> {
  const image = bench.file("disk.img");
  const echo = bench.file("echo");
  const serial = bench.file("serial");
  const tap = `bench${taps++}`;
  if (test.guest === "virtio_blk") Deno.writeFileSync(image, new Uint8Array(DISK_SIZE).fill(1));
  if (test.kind === "stream") {
    bench.spawn([peer, "stream", echo]);
    await existence(echo);
  }
  bench.spawn([
    ...contender.program.split(" "),
    ...["-machine", "microvm,acpi=off", "-global", "virtio-mmio.force-legacy=off"],
    ...["-accel", "kvm", "-cpu", "host", "-smp", "1", "-m", "64M"],
    ...["-kernel", `${root}build/guests/${test.guest}.elf`],
    "-append",
    `${test.append} requests=${test.requests} events=1 indirect=1 irq=1 gsi=${GSI}`,
    ...["-nodefaults", "-display", "none"],
    ...["-chardev", `socket,id=s0,path=${serial},server=on,wait=on`, "-serial", "chardev:s0"],
    ...contender.machine ?? [],
    ...devices(test, contender, { image, echo, tap }),
  ]);
  const guest = await Guest.connect(serial);
  await guest.line();
  if (test.kind === "tap") {
    ip("link", "set", tap, "up");
    bench.spawn([peer, "packet", tap]);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return guest;
}

async function existence(path: string): Promise<void> {
  while (true) {
    try {
      await Deno.lstat(path);
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

function ip(...args: string[]): void {
  const { success, stderr } = new Deno.Command("ip", { args }).outputSync();
  if (!success) throw new Error(`ip ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}

function show(rate: number, size: number): string {
  const each = 1e6 / rate;
  const throughput = rate * size / 1e6;
  return `${Math.round(rate)} (${each.toFixed(1)} us, ${throughput.toFixed(0)} MB/s)`;
}

async function compare(peer: string, test: Case): Promise<void> {
  await using bench = new Bench();
  const isDisk = test.guest === "virtio_blk";
  const contenders = [molt, qemu, ...(isDisk ? [qemuThread] : [])];
  const guests: { guest: Guest; rates: number[] }[] = [];
  for (const contender of contenders) {
    const guest = await start(bench, peer, test, contender);
    await guest.measure(); // the first time everything is touched
    guests.push({ guest, rates: [] });
  }
  for (let round = 0; round < rounds; round++) {
    for (const { guest, rates } of guests) rates.push(await guest.measure());
  }
  const [ours = NaN, ...theirs] = guests.map(({ rates }) => median(rates));
  const ratio = ours / Math.max(...theirs);
  const cells = [
    show(ours, test.size),
    ...[0, 1].map((i) => theirs[i] === undefined ? "" : show(theirs[i], test.size)),
  ];
  console.log(`| ${test.name} | ${cells.join(" | ")} | ${ratio.toFixed(2)} |`);
}

async function main(): Promise<number> {
  const isolated = Deno.env.get(IN_NAMESPACE);
  if (isolated === undefined) return await isolate();
  const peer = Deno.makeTempFileSync({ prefix: "molt-net-peer-" });
  try {
    const compiled = new Deno.Command("cc", {
      args: ["-O2", "-o", peer, `${root}bench/net_peer.c`],
      stdout: "inherit",
      stderr: "inherit",
    }).outputSync();
    if (!compiled.success) return 1;
    console.log(
      "Requests a second (time of each, throughput), and molt's ratio to the better QEMU.\n",
    );
    console.log("| | molt | QEMU | QEMU, iothread | ratio |\n| --- | --- | --- | --- | --- |");
    for (const test of cases) {
      if (!test.name.includes(flags.only)) continue;
      if (test.kind === "tap" && isolated === "no") {
        console.log(`| ${test.name} | not measured: no network namespaces here | | | |`);
      } else {
        await compare(peer, test);
      }
    }
    return 0;
  } finally {
    Deno.removeSync(peer);
  }
}

/** Runs this program in a network namespace, if that is allowed. */
async function isolate(): Promise<number> {
  const how = Deno.uid() === 0 ? ["--net"] : ["--net", "--map-root-user"];
  const allowed = new Deno.Command("unshare", {
    args: [...how, "sh", "-c", "ip tuntap add dev probe0 mode tap"],
  }).outputSync().success;
  const self = [Deno.execPath(), "run", "-A", import.meta.filename ?? "", ...Deno.args];
  const [program = "", ...args] = allowed ? ["unshare", ...how, ...self] : self;
  const { code } = await new Deno.Command(program, {
    args,
    env: { [IN_NAMESPACE]: allowed ? "yes" : "no" },
  }).spawn().status;
  return code;
}

Deno.exit(await main());
