/**
 * Loading RAM without a guest: page records from a file and from a socket, and a mapped-ram file, each
 * several times. It needs no /dev/kvm. Medians are printed; times count on one machine only.
 *
 *   deno run -A bench/ram_load.ts [--memory MIB] [--rounds N] [--only TEXT]
 */
import process from "node:process";
import { parseArgs } from "@std/cli/parse-args";
import type { IncomingChannel } from "../src/channel/channel.ts";
import { IncomingFile } from "../src/channel/file.ts";
import { StreamChannel } from "../src/channel/stream.ts";
import { GuestMemory } from "../src/memory/guest_memory.ts";
import { PAGE_SIZE } from "../src/memory/ram_block.ts";
import { IncomingSession } from "../src/migration/incoming_session.ts";
import { defaultParameters } from "../src/migration/parameters.ts";
import { defaultStreamProperties } from "../src/migration/properties.ts";
import type { MigratableMachine } from "../src/migration/source.ts";
import { StreamWriter } from "../src/migration/stream/stream_writer.ts";
import { socketPair } from "../src/native/socket.ts";
import { fillPage, load, memfdBlock, save } from "../test/unit/migration/mapped_ram/files.ts";
import { TemporaryDirectory } from "../test/support/temporary_directory.ts";

const flags = parseArgs(Deno.args, {
  string: ["memory", "rounds", "only"],
  default: { only: "", memory: "128", rounds: "5" },
});
const rounds = Number(flags.rounds);
const MEBIBYTE = 1 << 20;
const size = Number(flags.memory) * MEBIBYTE;
const pages = size / PAGE_SIZE;

/** The records of a stream: which pages have content, and how many are in a section. */
interface Shape {
  readonly name: string;
  readonly hasContent: (page: number) => boolean;
  readonly section: number;
}

const shapes: readonly Shape[] = [
  { name: "pages", hasContent: () => true, section: pages },
  { name: "zero pages", hasContent: () => false, section: pages },
  { name: "every other page zero", hasContent: (page) => page % 2 === 0, section: pages },
  { name: "pages, 256 in a section", hasContent: () => true, section: 256 },
  { name: "pages, 16 in a section", hasContent: () => true, section: 16 },
];

function streamOf({ hasContent, section }: Shape): Uint8Array<ArrayBuffer> {
  const writer = new StreamWriter();
  const content = crypto.getRandomValues(new Uint8Array(PAGE_SIZE));
  writer.begin({ machineType: "microvm", capabilities: [] });
  writer.beginRam("start", 1);
  writer.ram.blocks([{ name: "ram", length: size }]);
  writer.endRam(1);
  for (let first = 0; first < pages; first += section) {
    writer.beginRam(first + section >= pages ? "end" : "part", 1);
    for (let page = first; page < Math.min(first + section, pages); page++) {
      if (hasContent(page)) writer.ram.page("ram", page * PAGE_SIZE, content);
      else writer.ram.zeroPage("ram", page * PAGE_SIZE);
    }
    writer.endRam(1);
  }
  writer.finish(false);
  return writer.take().slice();
}

/** The guest's memory. The host gives its pages once, which takes longer than all that is measured. */
const memory = memfdBlock("ram", pages);
memory.mapping.bytes.fill(1);

/** Loads a machine of one block of RAM and nothing else. */
async function loadStream(channel: IncomingChannel): Promise<void> {
  const machine: Partial<MigratableMachine> = {
    machineType: "microvm",
    uuid: undefined,
    blocks: [memory],
    memory: new GuestMemory([]),
    sections: [],
  };
  const parameters = defaultParameters();
  await using session = new IncomingSession(
    {
      handedOver: () => undefined,
      capabilities: () => new Set(),
      parameters: () => parameters,
      stream: defaultStreamProperties,
    },
    machine as MigratableMachine,
    channel,
    [],
  );
  await session.load();
}

/** Milliseconds that passed, and that all threads together used a processor. */
interface Times {
  readonly elapsed: number;
  readonly busy: number;
}

/** The best of the rounds, after one that does not count. */
async function measure(once: () => Promise<void>): Promise<Times> {
  const best = { elapsed: Infinity, busy: Infinity };
  for (let round = 0; round <= rounds; round++) {
    const before = performance.now();
    const used = process.cpuUsage();
    await once();
    if (round === 0) continue;
    const { user, system } = process.cpuUsage(used);
    best.elapsed = Math.min(best.elapsed, performance.now() - before);
    best.busy = Math.min(best.busy, (user + system) / 1000);
  }
  return best;
}

function print(name: string, { elapsed, busy }: Times): void {
  const [time, work] = [elapsed, busy].map((value) => value.toFixed(1).padStart(8));
  console.log(`${name.padEnd(40)} ${time} ms, processors ${work} ms`);
}

using directory = new TemporaryDirectory("/dev/shm");
for (const shape of shapes.filter(({ name }) => name.includes(flags.only))) {
  const bytes = streamOf(shape);
  const path = directory.file("stream");
  Deno.writeFileSync(path, bytes);
  const fromFile = await measure(async () => {
    using file = IncomingFile.open(path);
    await loadStream(file);
  });
  print(`${shape.name}, from a file`, fromFile);
  const fromSocket = await measure(async () => {
    const [here, there] = socketPair();
    using source = new StreamChannel(here, true);
    using destination = new StreamChannel(there, true);
    await Promise.all([source.write(bytes), loadStream(destination)]);
  });
  print(`${shape.name}, from a socket`, fromSocket);
  Deno.removeSync(path);
}

using block = memfdBlock("ram", pages);
for (let page = 0; page < pages; page++) if (page % 64 < 48) fillPage(block, page, page + 1);
for (const channels of "mapped-ram".includes(flags.only) ? [1, 2, 4] : []) {
  const path = directory.file(`mapped-${channels}`);
  const saved = await measure(async () => {
    await Deno.remove(path).catch(() => {});
    await save(path, [block], { channels });
  });
  print(`mapped-ram, ${channels} channels, saved`, saved);
  const loaded = await measure(async () => {
    await load(path, [memory], { channels });
  });
  print(`mapped-ram, ${channels} channels, loaded`, loaded);
  Deno.removeSync(path);
}
