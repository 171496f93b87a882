/** A guest that works on all it has while the process under it is replaced. */
import {
  awaitProgress,
  checkKernelLog,
  checkUnmounted,
  checkWorkers,
  endPasstStream,
  shell,
  startPasstStream,
  startStreams,
  workers,
  type WorkerStatus,
} from "./checks.ts";
import { Guest, type GuestOptions } from "./guest.ts";
import type { Test, TestContext } from "./test.ts";
import type { Update } from "./updates.ts";

const MEMORY_MEGABYTES = 32;
const NANOSECONDS = 1e-9;

/** A guest that is started when it is first needed, and again when it is lost. */
export class BusyGuest implements AsyncDisposable {
  readonly #options: GuestOptions;
  #guest: Guest | undefined;

  constructor(options: GuestOptions) {
    this.#options = options;
  }

  /** The guest, at work. */
  async get(): Promise<Guest> {
    if (this.#guest) return this.#guest;
    const guest = await Guest.boot(this.#options);
    this.#guest = guest;
    // The console is for the tests: what the kernel says is looked at with dmesg.
    await shell(guest, "dmesg -n 1");
    await shell(guest, `rig disk ${await dataDisk(guest)}`);
    await shell(guest, `rig memory ${MEMORY_MEGABYTES}`);
    await shell(guest, "rig clocks");
    await startStreams(guest);
    return guest;
  }

  /** Runs `action`; the guest is given up if that fails. */
  async keepIf<T>(action: (guest: Guest) => Promise<T>): Promise<T> {
    const guest = await this.get();
    try {
      return await action(guest);
    } catch (error) {
      const failure = await guest.examine(error);
      this.#guest = undefined;
      await guest[Symbol.asyncDispose]();
      throw failure;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#guest?.[Symbol.asyncDispose]();
    this.#guest = undefined;
  }
}

async function dataDisk(guest: Guest): Promise<string> {
  const find = "for d in /sys/block/vd*; do [ $(cat $d/serial) = data ] && echo ${d##*/}; done";
  return `/dev/${await shell(guest, find)}`;
}

/** Updates a busy guest several times in a row. */
export function updateTest(busy: BusyGuest, update: Update, count: number): Test {
  return {
    group: "updates",
    name: update.name,
    run: (test) =>
      busy.keepIf(async (guest) => {
        test.use(guest);
        const before = await awaitProgress(guest, await workers(guest));
        test.step("the guest is at work");
        let last = new Map(before);
        let seconds = 0;
        for (let i = 1; i <= count; i++) {
          const started = performance.now();
          guest.note(`${update.name} ${i}`);
          if (!update.keepsPasst) await endPasstStream(guest);
          const said = await update.run(guest, test.patience(300));
          if (!update.keepsPasst) {
            await startPasstStream(guest);
            last.set("passt", { progress: 0, errors: 0, detail: 0, firstError: "" });
          }
          guest.note("done");
          const took = (performance.now() - started) / 1000;
          seconds += took;
          last = await awaitProgress(guest, last);
          test.value("in a row", String(i));
          test.step(`${i} of ${count}: ${took.toFixed(1)} s: ${said}`);
        }
        test.value("each", `${(seconds / count).toFixed(1)} s`);
        tellProgress(test, before, last);
        await checkKernelLog(guest);
        test.value("dmesg", "clean");
      }),
  };
}

/** Ends the guest and looks at its disks from outside. */
export function aftermathTest(busy: BusyGuest): Test {
  return {
    group: "updates",
    name: "power-off, disks",
    run: (test) =>
      busy.keepIf(async (guest) => {
        test.use(guest);
        checkWorkers(await workers(guest));
        // Linux 6.1.0-57 breaks the queues of its virtio devices when it shuts down (virtio_dev_shutdown).
        // A frame sent after that has virtio_net's start_xmit wait for ever for frames before it.
        await shell(guest, "for card in /sys/class/net/*; do ip link set ${card##*/} down; done");
        await shell(guest, "poweroff");
        await guest.awaitEnd(test.patience(300));
        await checkUnmounted(guest.directory.file("root.ext4"));
        const command = new Deno.Command("rig", {
          args: ["check", guest.directory.file("data.raw")],
        });
        const { success, stdout } = await command.output();
        const text = new TextDecoder().decode(stdout).trim();
        if (!success) throw new Error(`the disk: ${text}`);
        test.value("disk", text);
      }),
  };
}

function tellProgress(
  test: TestContext,
  before: ReadonlyMap<string, WorkerStatus>,
  after: ReadonlyMap<string, WorkerStatus>,
): void {
  for (const [name, { progress, detail }] of after) {
    const start = before.get(name)?.progress ?? 0;
    // A stream may have been started again.
    test.value(name, String(progress < start ? progress : progress - start));
    if (name === "clocks") test.value("longest gap", `${(detail * NANOSECONDS).toFixed(2)} s`);
  }
}
