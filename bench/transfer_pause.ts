/**
 * The pause of cpr-transfer by molt and by QEMU, in turns: from the STOP of the source to the RESUME of
 * the destination, by the time stamps of these events.
 *
 *   deno run -A bench/transfer_pause.ts [--rounds N] [--memory MIB,MIB] [--load idle,loaded] [--programs P]
 *
 * Each round moves the guest to a new process of the same program. `loaded`: both vCPUs rewrite 64 MiB as
 * fast as they can. `--programs molt` leaves QEMU out; MOLT in the environment names a compiled molt.
 */
import { parseArgs } from "@std/cli/parse-args";
import { awaitMigration, QmpClient } from "../src/qmp_client/mod.ts";
import { awaitListening } from "../scripts/lib/listening.ts";
import { patience } from "../test/support/patience.ts";
import { commandOf, guestImage, type Vmm } from "../test/support/programs.ts";
import { TemporaryDirectory } from "../test/support/temporary_directory.ts";

const flags = parseArgs(Deno.args, {
  string: ["rounds", "memory", "load", "programs"],
  default: { rounds: "20", memory: "1024,8192", load: "idle,loaded", programs: "molt,qemu" },
});
const rounds = Number(flags.rounds);

/** An event of a machine, and when it came, in microseconds since 1970. */
interface Event {
  readonly name: string;
  readonly time: number;
}

/**
 * A machine whose monitor connects to us, and is talked to before it runs: so no event is missed, however
 * soon it comes.
 */
class Machine implements AsyncDisposable {
  readonly child: Deno.ChildProcess;
  readonly socket: string;
  readonly #listener: Deno.UnixListener;
  readonly #events: Event[] = [];
  #waiting: (() => void)[] = [];

  constructor(vmm: Vmm, directory: TemporaryDirectory, name: string, args: readonly string[]) {
    const events = directory.file(`${name}.events`);
    this.socket = directory.file(`${name}.qmp`);
    this.#listener = Deno.listen({ transport: "unix", path: events });
    void this.#listen();
    const [program = "", ...rest] = [
      ...commandOf(vmm),
      ...args,
      ...["-qmp", `unix:${events}`, "-qmp", `unix:${this.socket},server=on,wait=off`],
    ];
    this.child = new Deno.Command(program, { args: rest, stdin: "null", stdout: "null" }).spawn();
  }

  /** When the event came. */
  async event(name: string): Promise<number> {
    for (;;) {
      const event = this.#events.find((candidate) => candidate.name === name);
      if (event !== undefined) return event.time;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  connect(): Promise<QmpClient> {
    return QmpClient.connect(this.socket, { wait: true, signal: patience() });
  }

  async #listen(): Promise<void> {
    using connection = await this.#listener.accept();
    await connection.write(new TextEncoder().encode(`{"execute":"qmp_capabilities"}\n`));
    let text = "";
    try {
      for await (const piece of connection.readable.pipeThrough(new TextDecoderStream())) {
        const lines = (text + piece).split("\n");
        text = lines.pop() ?? "";
        for (const line of lines) this.#take(JSON.parse(line));
      }
    } catch {
      // The process has ended.
    }
  }

  #take(message: {
    event?: string;
    timestamp?: { seconds: number; microseconds: number };
  }): void {
    const { event, timestamp } = message;
    if (event === undefined || timestamp === undefined) return;
    this.#events.push({ name: event, time: timestamp.seconds * 1e6 + timestamp.microseconds });
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.child.status;
    this.#listener.close();
  }
}

/** Milliseconds of each pause. */
async function measure(vmm: Vmm, mebibytes: number, load: string): Promise<number[]> {
  using directory = new TemporaryDirectory();
  const options = [
    ...["-machine", "microvm,acpi=off,memory-backend=ram0,aux-ram-share=on", "-accel", "kvm"],
    ...["-object", `memory-backend-memfd,id=ram0,size=${mebibytes}M,share=on`],
    ...["-cpu", "host", "-smp", "2", "-m", `${mebibytes}M`, "-nodefaults", "-display", "none"],
    ...load === "idle"
      ? ["-kernel", guestImage("idle.elf")]
      : ["-kernel", guestImage("heartbeat.elf"), "-append", "memory=64"],
  ];
  const channels = (["main", "cpr"] as const).map((type) => ({
    "channel-type": type,
    "addr": { transport: "socket", type: "unix", path: directory.file(type) } as const,
  }));
  const incoming = channels.flatMap((channel) => ["-incoming", JSON.stringify(channel)]);
  const pauses: number[] = [];
  let source = new Machine(vmm, directory, "0", options);
  try {
    await (await source.connect())[Symbol.asyncDispose]();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    for (let round = 1; round <= rounds; round++) {
      const target = new Machine(vmm, directory, String(round), [...options, ...incoming]);
      await using ending = source;
      source = target;
      await awaitListening(directory.file("cpr"), target.child.pid, patience());
      await using qmp = await ending.connect();
      await qmp.execute("migrate-set-parameters", { mode: "cpr-transfer" });
      await qmp.execute("migrate", { channels });
      const stopped = await ending.event("STOP");
      const resumed = await target.event("RESUME");
      await awaitMigration(qmp, { signal: patience() });
      pauses.push((resumed - stopped) / 1000);
      for (const type of ["main", "cpr"]) await Deno.remove(directory.file(type)).catch(() => {});
    }
    return pauses;
  } finally {
    await source[Symbol.asyncDispose]();
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? NaN;
}

const programs = flags.programs.split(",") as Vmm[];
console.log(`cpr-transfer, 2 vCPUs: STOP to RESUME in ms, of ${rounds}\n`);
console.log(
  `| memory | guest | ${
    programs.map((p) => `${p} median | ${p} longest |`).join(" ")
  } molt / QEMU |`,
);
console.log(`| --- | --- |${programs.map(() => " --- | --- |").join("")} --- |`);
for (const memory of flags.memory.split(",").map(Number)) {
  for (const load of flags.load.split(",")) {
    const medians: number[] = [];
    const cells: string[] = [];
    for (const vmm of programs) {
      const pauses = await measure(vmm, memory, load);
      medians.push(median(pauses));
      cells.push(median(pauses).toFixed(2), Math.max(...pauses).toFixed(2));
    }
    const [molt = NaN, qemu = NaN] = medians;
    console.log(`| ${memory} MiB | ${load} | ${cells.join(" | ")} | ${(molt / qemu).toFixed(2)} |`);
  }
}
