/** What a handler of the event loop throws ends what it was registered for, and never the loop. */
import { assert, assertEquals } from "@std/assert";
import { contain, EventLoop, Events, monotonicTime } from "../../../src/native/event_loop.ts";
import { createPipe, read, write } from "../../../src/native/file.ts";
import { patience } from "../../support/patience.ts";

const MS = 1_000_000n;

async function until(condition: () => boolean): Promise<void> {
  const signal = patience();
  while (!condition()) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** A loop at work until the scope ends. */
class RunningLoop implements AsyncDisposable {
  readonly loop = new EventLoop();
  readonly #running = this.loop.run();

  async [Symbol.asyncDispose](): Promise<void> {
    this.loop.stop();
    await this.#running;
    this.loop[Symbol.dispose]();
  }
}

Deno.test("a handler that fails is reported to its owner, rests, and everybody else is served", async () => {
  await using running = new RunningLoop();
  const { loop } = running;
  const [reader, writer] = createPipe();
  using input = reader;
  using output = writer;
  write(output.fd, Uint8Array.of(1));

  const faults: unknown[] = [];
  const failure = new Error("a client's fault");
  let healed = false;
  let taken = false;
  // The byte stays unread, so the descriptor stays ready.
  using _failing = loop.watch(input.fd, Events.readable, () => {
    if (!healed) throw failure;
    taken = read(input.fd, new Uint8Array(1)) === 1;
  }, (fault) => faults.push(fault));

  let ticks = 0;
  using timer = loop.timer(() => {
    ticks++;
    timer.arm(monotonicTime() + MS);
  }, (fault) => faults.push(fault));
  timer.arm(monotonicTime());
  await until(() => ticks > 50);
  assertEquals(faults.slice(0, 2), [failure, failure]);
  assert(faults.length <= 4, `called ${faults.length} times without rest`);

  // A watch that rests is looked at again.
  healed = true;
  await until(() => taken);
});

Deno.test("a timer that fails goes to its owner, and the others expire", async () => {
  await using running = new RunningLoop();
  const { loop } = running;
  const faults: unknown[] = [];
  const fired: string[] = [];
  using first = loop.timer(() => {
    throw new Error("a timer's fault");
  }, (fault) => faults.push(String(fault)));
  using second = loop.timer(() => fired.push("second"), (fault) => faults.push(fault));
  using disarmed = loop.timer(() => fired.push("disarmed"), (fault) => faults.push(fault));
  const now = monotonicTime();
  second.arm(now + 2n * MS);
  disarmed.arm(now + MS);
  first.arm(now);
  disarmed.disarm();
  await until(() => fired.length > 0);
  assertEquals(fired, ["second"]);
  assertEquals(faults, ["Error: a timer's fault"]);
  first.arm(0n);
  await until(() => faults.length === 2);
});

Deno.test("who takes a fault may fail as well: nothing escapes", () => {
  assert(contain(() => {}, () => {}));
  assert(
    !contain(() => {
      throw new Error("the fault");
    }, () => {
      throw new Error("the fault's handler's");
    }),
  );
});
