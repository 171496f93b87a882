/** Pages of a running guest, sent and applied in one process: afterwards both memories are equal. */
import { assert, assertEquals } from "@std/assert";
import { StreamChannel } from "../../src/channel/stream.ts";
import { parseCommandLine } from "../../src/cli/parse.ts";
import { DirtyLog } from "../../src/kvm/dirty_log.ts";
import type { DirtyTracker } from "../../src/kvm/dirty_tracker.ts";
import { VcpuThrottle } from "../../src/machine/throttle.ts";
import { RamBlock } from "../../src/memory/ram_block.ts";
import { Timeline } from "../../src/migration/cpr/timeline.ts";
import { MainStreamTransport } from "../../src/migration/ram/main_stream.ts";
import { type PrecopyOptions, PrecopySender } from "../../src/migration/ram/precopy.ts";
import { StreamWriter } from "../../src/migration/stream/stream_writer.ts";
import { EventLoop } from "../../src/native/event_loop.ts";
import { status } from "../../src/native/file.ts";
import { Mapping } from "../../src/native/mapping.ts";
import { socketPair } from "../../src/native/socket.ts";
import { VirtualMachine } from "../../src/virtual_machine.ts";
import { receiveRam } from "../support/receive_ram.ts";

const MEGABYTE = 1 << 20;

/** Runs `test` with a guest that rewrites 64 MiB of its 128 as fast as it can. */
async function withGuest(
  accelerator: string,
  test: (vm: VirtualMachine, loop: EventLoop) => Promise<void>,
): Promise<void> {
  const config = parseCommandLine([
    ...["-M", "microvm", "-accel", accelerator, "-m", "128M", "-smp", "2", "-nodefaults"],
    ...["-object", "memory-backend-memfd,id=ram0,size=128M", "-machine", "memory-backend=ram0"],
    ...["-display", "none", "-kernel", "build/guests/heartbeat.elf"],
  ]);
  const loop = new EventLoop();
  const served = loop.run();
  const vm = await VirtualMachine.create(
    config,
    loop,
    { kind: "first" },
    new Timeline(undefined, "monitor"),
  );
  try {
    await test(vm, loop);
  } finally {
    vm.board.machine.stop();
    vm[Symbol.dispose]();
    loop.stop();
    await served;
    loop[Symbol.dispose]();
  }
}

/** Empty blocks like the machine's. */
function emptyCopies(blocks: readonly RamBlock[], owner: DisposableStack): RamBlock[] {
  return blocks.map(({ name, maximumLength, usedLength, resizable }) =>
    owner.use(
      new RamBlock({
        name,
        backing: { kind: "private" },
        mapping: new Mapping({ kind: "anonymous" }, maximumLength, name),
        usedLength,
        resizable,
      }),
    )
  );
}

/** How a precopy is set up, and what it came to. */
interface Precopy {
  readonly tracker: DirtyTracker;
  readonly maxBandwidth: number;
  readonly downtimeLimit: number | (() => number);
  readonly autoConverge?: PrecopyOptions["autoConverge"];
  /** Done when everything was sent. */
  readonly afterSending?: () => void;
  /** Done after each pass. */
  readonly afterPass?: (pass: number) => void;
}

/** Sends the guest's memory live and compares it with what arrived. */
async function precopy(vm: VirtualMachine, options: Precopy): Promise<PrecopySender["statistics"]> {
  using undo = new DisposableStack();
  const { machine, ram } = vm.board;
  const [here, there] = socketPair();
  const channel = undo.use(new StreamChannel(here, true));
  const incoming = undo.use(new StreamChannel(there, true));
  const copies = emptyCopies(ram.blocks, undo);
  const received = receiveRam({ channel: incoming, blocks: copies });

  const writer = new StreamWriter();
  const flush = () => channel.write(writer.take());
  await using sender = new PrecopySender({
    writer,
    flush,
    listings: ram.blocks.map((block) => ({ block, ignored: false })),
    sources: { tracker: options.tracker, memory: ram.memory },
    transport: new MainStreamTransport({ writer, channel, detectZero: true }),
    parameters: () => ({
      maxBandwidth: options.maxBandwidth,
      downtimeLimit: typeof options.downtimeLimit === "number"
        ? options.downtimeLimit
        : options.downtimeLimit(),
      switchoverBandwidth: 0,
    }),
    ...(options.autoConverge ? { autoConverge: options.autoConverge } : {}),
    signal: new AbortController().signal,
    passBegins: () => {},
  });
  writer.begin({ machineType: "microvm", capabilities: [] });
  await sender.begin();
  for (let pass = 1; !await sender.pass(); pass++) options.afterPass?.(pass);
  machine.stop();
  await sender.finish();
  writer.finish(false);
  await flush();
  await received;
  options.afterSending?.();

  for (const [i, block] of ram.blocks.entries()) {
    const differing = differingPages(block.mapping.bytes, copies[i]!.mapping.bytes);
    assertEquals(differing, [], `pages of ${block.name} that differ`);
  }
  return sender.statistics;
}

function differingPages(a: Uint8Array<ArrayBuffer>, b: Uint8Array<ArrayBuffer>): number[] {
  const wordsA = new BigUint64Array(a.buffer, a.byteOffset, a.length / 8);
  const wordsB = new BigUint64Array(b.buffer, b.byteOffset, b.length / 8);
  const pages = new Set<number>();
  for (let i = 0; i < wordsA.length; i++) if (wordsA[i] !== wordsB[i]) pages.add(i >> 9);
  return [...pages];
}

const trackers: readonly [name: string, (vm: VirtualMachine) => DirtyTracker][] = [
  ["as it comes", ({ board }) => board.dirtyTracker],
  [
    "protected at the start, then by pieces",
    ({ board }) => new DirtyLog(board.kvm, board.vm, board.slots, 1),
  ],
  [
    "protected while it is fetched",
    ({ board }) => new DirtyLog(board.kvm, board.vm, board.slots, 0),
  ],
];

for (const [name, tracker] of trackers) {
  Deno.test(`dirty log, ${name}: everything a running guest writes arrives`, async () => {
    await withGuest("kvm", async (vm) => {
      const statistics = await precopy(vm, {
        tracker: tracker(vm),
        maxBandwidth: 200 * MEGABYTE,
        downtimeLimit: 100,
      });
      assert(statistics.dirtySyncCount >= 2);
      assert(statistics.normal > 0 && statistics.duplicate > 0);
      assertEquals(statistics.remaining, 0);
      assertEquals(
        statistics.total,
        vm.board.ram.blocks.reduce((sum, { usedLength }) => sum + usedLength, 0),
      );
    });
  });
}

Deno.test("dirty rings: everything a running guest writes arrives, also through rings that are always full", async () => {
  await withGuest("kvm,dirty-ring-size=1024", async (vm) => {
    const statistics = await precopy(vm, {
      tracker: vm.board.dirtyTracker,
      maxBandwidth: 200 * MEGABYTE,
      downtimeLimit: 100,
    });
    assert(statistics.dirtySyncCount >= 2);
  });
});

Deno.test("what devices write while a migration runs arrives", async () => {
  await withGuest("kvm", async (vm) => {
    const { memory } = vm.board.ram;
    const content = new TextEncoder().encode("written by a device");
    // Memory that the guest does not use: only the device's word says that it changed.
    const place = 100 * MEGABYTE - 10;
    await precopy(vm, {
      tracker: vm.board.dirtyTracker,
      maxBandwidth: 200 * MEGABYTE,
      downtimeLimit: 100,
      afterPass: (pass) => memory.write(place + (pass % 10) * MEGABYTE, content),
    });
    assertEquals(memory.read(place + MEGABYTE, content.length), new Uint8Array(content));
  });
});

Deno.test("memory that nobody wrote is not allocated by sending it", async () => {
  await withGuest("kvm", async (vm) => {
    vm.board.machine.stop();
    const { backing } = vm.board.ram.main;
    if (backing.kind !== "descriptor") throw new Error("RAM is not a memfd");
    const { fd } = backing.descriptor;
    const before = status(fd).allocated;
    let after = 0;
    await precopy(vm, {
      tracker: vm.board.dirtyTracker,
      maxBandwidth: 0,
      downtimeLimit: 300,
      afterSending: () => {
        after = status(fd).allocated;
      },
    });
    assert(before < 128 * MEGABYTE);
    assertEquals(after, before);
  });
});

/** CPU time in clock ticks that a thread has used (proc(5), stat's utime and stime). */
async function cpuTime(thread: number): Promise<number> {
  const stat = await Deno.readTextFile(`/proc/self/task/${thread}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

Deno.test("a throttled guest runs for its share of the time, and for all of it afterwards", async () => {
  await withGuest("kvm", async (vm, loop) => {
    const used = async (ms: number) => {
      const threads = vm.board.machine.vcpus.map(({ thread }) => thread.threadId);
      const sum = async () => (await Promise.all(threads.map(cpuTime))).reduce((a, b) => a + b, 0);
      const before = await sum();
      await new Promise((resolve) => setTimeout(resolve, ms));
      return await sum() - before;
    };
    const full = await used(1000);
    let slow = 0;
    {
      using throttle = new VcpuThrottle(loop, vm.board.machine.vcpus);
      throttle.percentage = 99;
      slow = await used(1000);
      assert(slow < full / 2, `${slow} ticks throttled, ${full} before`);
      // A machine is stopped while its processors sleep, for most of a second, and goes on.
      const start = performance.now();
      vm.board.machine.stop();
      assert(performance.now() - start < 500);
      vm.board.machine.start();
    }
    assert(await used(1000) > slow);
  });
});

Deno.test("auto-converge slows a guest down that writes faster than can be sent", async () => {
  await withGuest("kvm", async (vm, loop) => {
    using throttle = new VcpuThrottle(loop, vm.board.machine.vcpus);
    const statistics = await precopy(vm, {
      tracker: vm.board.dirtyTracker,
      maxBandwidth: 20 * MEGABYTE,
      // What is left fits only once the guest was slowed down.
      downtimeLimit: () => throttle.percentage >= 60 ? 60_000 : 0,
      autoConverge: {
        throttle,
        parameters: () => ({
          triggerThreshold: 20,
          initial: 60,
          increment: 30,
          tailslow: false,
          maximum: 99,
        }),
      },
    });
    assert(statistics.dirtySyncCount > 2);
    assertEquals(throttle.percentage, 0);
  });
});
