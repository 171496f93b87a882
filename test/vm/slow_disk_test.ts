/**
 * A disk whose host does not finish a request, as on a network file system whose server is away: monitors
 * answer, and what has to wait for the request (stop, a migration, a reset, the end) does so without them.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { QmpClient } from "../../src/qmp_client/mod.ts";
import { patience } from "../support/patience.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { FIRST_GSI, GuestLog, virtioMachine } from "../support/virtio_machine.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

/** ms that a request takes. After 3000 people are informed of what is being waited for. */
const LATENCY = 5000;

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A guest that reads once from its disk for each byte that it gets, and two monitors. */
class SlowMachine implements AsyncDisposable {
  readonly #directory = new TemporaryDirectory();
  readonly #resources = new AsyncDisposableStack();
  vm!: VirtualMachine;
  /** Another client than vm.qmp, which may be waiting for its command. */
  monitor!: QmpClient;
  #serial!: Deno.Conn;
  #text = "";

  static async start({ append = "", latency = LATENCY } = {}): Promise<SlowMachine> {
    const slow = new SlowMachine();
    const log = new GuestLog(slow.#directory.file("unused"));
    const serial = slow.#directory.file("serial");
    const monitor = slow.#directory.file("monitor");
    const options = virtioMachine(log, {
      guest: "virtio_blk",
      append: `op=0 requests=1 events=1 irq=1 gsi=${FIRST_GSI} ${append}`,
      devices: [
        "-blockdev",
        `null-co,node-name=d0,size=67108864,read-zeroes=on,latency-ns=${latency * 1_000_000}`,
        ...["-device", "virtio-blk-device,drive=d0"],
        ...["-qmp", `unix:${monitor},server=on,wait=off`],
      ],
    }).map((option) =>
      option.startsWith("file,id=serial0")
        ? `socket,id=serial0,path=${serial},server=on,wait=on`
        : option
    );
    const starting = VirtualMachine.start("molt", options, { directory: slow.#directory });
    starting.catch(() => {});
    for (const signal = patience(); slow.#serial === undefined; await sleep(20)) {
      signal.throwIfAborted();
      await Deno.connect({ transport: "unix", path: serial }).then(
        (connection) => slow.#serial = connection,
        () => {},
      );
    }
    slow.vm = slow.#resources.use(await starting);
    slow.monitor = slow.#resources.use(
      await QmpClient.connect(monitor, { wait: true, signal: patience() }),
    );
    void slow.#collect();
    await slow.printed("virtio_blk version=");
    return slow;
  }

  /** Has the guest read, and waits until the host has got the request. */
  async beginRequest(): Promise<void> {
    await this.#serial.write(Uint8Array.of(10));
    await sleep(500);
  }

  /** Waits until the guest has printed `text`, `times` times. */
  async printed(text: string, times = 1): Promise<void> {
    for (const signal = patience(); this.#text.split(text).length <= times; await sleep(10)) {
      if (signal.aborted) throw new Error(`'${text}' is not in: ${this.#text}`);
    }
  }

  async status(): Promise<string> {
    return (await this.monitor.execute("query-status")).status;
  }

  async #collect(): Promise<void> {
    const decoder = new TextDecoder();
    try {
      for await (const bytes of this.#serial.readable) this.#text += decoder.decode(bytes);
    } catch {
      // The machine has ended.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources[Symbol.asyncDispose]();
    this.#directory[Symbol.dispose]();
  }
}

/** Does `action`, and says for how long it was under way. */
async function timed(action: Promise<unknown>): Promise<number> {
  const began = performance.now();
  await action;
  return performance.now() - began;
}

Deno.test("stop waits for a request under way, other monitors do not", async () => {
  await using slow = await SlowMachine.start();
  await slow.beginRequest();
  let stopped = false;
  const stopping = slow.vm.qmp.execute("stop").then(() => stopped = true);
  await sleep(200);
  assertEquals([await slow.status(), stopped], ["paused", false]);
  await stopping;
  assertStringIncludes(slow.vm.errorText, "waiting for requests of disk 'd0' (null-co://)");
  await slow.vm.qmp.execute("cont");
  await slow.printed("done requests=1");
  await slow.printed("errors=0");

  // Again in the same life, and the guest is let go on before the request has ended.
  await slow.beginRequest();
  const again = slow.vm.qmp.execute("stop");
  await sleep(200);
  await slow.monitor.execute("cont");
  assert(await timed(again) < LATENCY / 2, "stop waits although the guest runs");
  await slow.printed("done requests=1", 2);
});

Deno.test("a migration that waits for a request can be cancelled; the guest goes on", async () => {
  // Longer than all that happens here.
  await using slow = await SlowMachine.start({ latency: 120_000 });
  using directory = new TemporaryDirectory();
  await slow.beginRequest();
  await slow.vm.qmp.execute("migrate", { uri: `file:${directory.file("state")}` });
  for (const signal = patience(); await slow.status() !== "finish-migrate";) {
    if (signal.aborted) {
      const { status } = await slow.monitor.execute("query-migrate");
      throw new Error(`${status}: ${slow.vm.describe()}`, { cause: signal.reason });
    }
    await sleep(10);
  }
  await slow.monitor.execute("migrate_cancel");
  for (const signal = patience();; await sleep(10)) {
    const { status } = await slow.monitor.execute("query-migrate");
    if (status === "cancelled") break;
    if (signal.aborted) throw new Error(`${status}: ${slow.vm.describe()}`);
  }
  assertEquals(await slow.status(), "running");
});

Deno.test("a migration waits for the request, and then completes", async () => {
  await using slow = await SlowMachine.start();
  using directory = new TemporaryDirectory();
  await slow.beginRequest();
  await slow.vm.qmp.execute("migrate", { uri: `file:${directory.file("state")}` });
  for (const signal = patience();; await sleep(10)) {
    signal.throwIfAborted();
    const { status } = await slow.monitor.execute("query-migrate");
    assert(status !== "failed", slow.vm.errorText);
    if (status === "completed") break;
  }
  assertEquals(await slow.status(), "postmigrate");
});

Deno.test("a reset waits for the request; a quit as well", async () => {
  await using slow = await SlowMachine.start();
  await slow.beginRequest();
  await slow.vm.qmp.execute("system_reset");
  await sleep(200);
  assertEquals(await slow.status(), "running");
  await slow.printed("virtio_blk version=", 2);

  await slow.beginRequest();
  assertEquals((await slow.vm.quit()).code, 0);
});

Deno.test("a driver that resets its device waits for the request, alone", async () => {
  await using slow = await SlowMachine.start({ append: "reset=1" });
  await slow.beginRequest();
  const began = performance.now();
  assertEquals(await slow.status(), "running");
  // Stopped and let go on meanwhile: the access waits on.
  const stopping = slow.vm.qmp.execute("stop");
  await sleep(200);
  assertEquals(await slow.status(), "paused");
  await slow.monitor.execute("cont");
  await stopping;
  assert(performance.now() - began < LATENCY / 2, "monitors wait for the request");
  await slow.printed("device reset");
  // The guest serves its serial line, and its disk is reset.
  await slow.vm.qmp.execute("stop");
  await slow.vm.qmp.execute("system_reset");
  await slow.vm.qmp.execute("cont");
  await slow.printed("virtio_blk version=", 2);
});

Deno.test("a driver's reset that waits for the request is done where the guest is stopped", async () => {
  await using slow = await SlowMachine.start({ append: "reset=1" });
  using directory = new TemporaryDirectory();
  await slow.beginRequest();
  await slow.vm.qmp.execute("stop");
  await slow.vm.qmp.execute("migrate", { uri: `file:${directory.file("state")}` });
  for (const signal = patience();; await sleep(10)) {
    signal.throwIfAborted();
    const { status } = await slow.monitor.execute("query-migrate");
    assert(status !== "failed", slow.vm.errorText);
    if (status === "completed") break;
  }
  await slow.vm.qmp.execute("cont");
  await slow.printed("device reset");
});
