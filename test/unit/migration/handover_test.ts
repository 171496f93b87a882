/** Who has the guest when a destination that has everything answers, refuses, closes or falls silent. */
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { StreamChannel } from "../../../src/channel/stream.ts";
import {
  MigrationCancelled,
  MigrationError,
  OwnerUnknownError,
} from "../../../src/migration/errors.ts";
import { handOver } from "../../../src/migration/outgoing/handover.ts";
import {
  MOLT_PING,
  ReturnPathReader,
  ReturnPathWriter,
} from "../../../src/migration/return_path.ts";
import { StreamWriter } from "../../../src/migration/stream/stream_writer.ts";
import { socketPair } from "../../../src/native/socket.ts";

/** The bytes of COMMIT and of ABORT: a command's header without content. */
const COMMIT = commandBytes("COMMIT");
const ABORT = commandBytes("ABORT");

function commandBytes(name: "COMMIT" | "ABORT"): Uint8Array {
  const writer = new StreamWriter();
  writer.command({ name });
  return writer.take().slice();
}

/** A destination that does what a test says, and the source that hands over to it. */
class Sides implements Disposable {
  readonly destination: StreamChannel;
  readonly #interrupt = new AbortController();
  readonly #channel: StreamChannel;
  readonly #returnPath: ReturnPathReader;

  constructor() {
    const [here, there] = socketPair();
    this.#channel = new StreamChannel(here, true);
    this.destination = new StreamChannel(there, true);
    this.#returnPath = new ReturnPathReader(this.#channel, MOLT_PING);
  }

  /** The source's last phase: no wait is longer than `milliseconds`. */
  async handOver(milliseconds = 60_000): Promise<void> {
    await this.#returnPath.introduced;
    await handOver({
      channel: this.#channel,
      writer: new StreamWriter(),
      returnPath: this.#returnPath,
      ownership: undefined,
      signal: this.#interrupt.signal,
      milliseconds,
      handingOver: () => Promise.resolve(),
    });
  }

  cancel(): void {
    this.#interrupt.abort(new MigrationCancelled());
  }

  /** Answers as molt does. */
  async introduceMolt(): Promise<ReturnPathWriter> {
    const writer = new ReturnPathWriter(this.destination, undefined);
    await writer.pong(1);
    await writer.pong(MOLT_PING);
    return writer;
  }

  /** Answers as molt 0.1.0 did: it closes the connection when the guest runs. */
  async introduceOldMolt(): Promise<ReturnPathWriter> {
    const writer = new ReturnPathWriter(this.destination, undefined);
    await writer.pong(1);
    await writer.pong(MOLT_PING + 1);
    return writer;
  }

  /** Answers as QEMU does, which starts the guest by itself. */
  async introduceQemu(): Promise<ReturnPathWriter> {
    const writer = new ReturnPathWriter(this.destination, undefined);
    await writer.pong(1);
    // Its own value, not the one that molt answers with.
    await this.destination.write(pong(MOLT_PING));
    return writer;
  }

  async received(): Promise<Uint8Array> {
    const buffer = new Uint8Array(64);
    return buffer.subarray(0, await this.destination.read(buffer));
  }

  [Symbol.dispose](): void {
    this.#channel[Symbol.dispose]();
    this.destination[Symbol.dispose]();
  }
}

/** A PONG as it is on the wire: u16 2, u16 4, u32 value. */
function pong(value: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 2);
  view.setUint16(2, 4);
  view.setUint32(4, value);
  return bytes;
}

Deno.test("a molt that acknowledges COMMIT has the guest", async () => {
  using sides = new Sides();
  const molt = await sides.introduceMolt();
  const outcome = sides.handOver();
  await molt.shut(true);
  assertEquals(await sides.received(), COMMIT);
  await molt.acknowledgeCommit();
  await outcome;
});

Deno.test("an older molt has the guest when it closes the connection", async () => {
  using sides = new Sides();
  const molt = await sides.introduceOldMolt();
  const outcome = sides.handOver();
  await molt.shut(true);
  assertEquals(await sides.received(), COMMIT);
  sides.destination[Symbol.dispose]();
  await outcome;
});

Deno.test("a molt that closes the connection without acknowledging COMMIT may have the guest", async () => {
  using sides = new Sides();
  const molt = await sides.introduceMolt();
  const outcome = sides.handOver();
  await molt.shut(true);
  assertEquals(await sides.received(), COMMIT);
  sides.destination[Symbol.dispose]();
  const error = await assertRejects(() => outcome, OwnerUnknownError);
  assert(error.message.includes("only if it does not"));
});

Deno.test("a molt that is silent after COMMIT may have the guest", async () => {
  using sides = new Sides();
  const molt = await sides.introduceMolt();
  const outcome = sides.handOver(200);
  await molt.shut(true);
  await assertRejects(() => outcome, OwnerUnknownError, "not answered for 200 ms");
});

Deno.test("cancelling after COMMIT ends the wait, and the destination may have the guest", async () => {
  using sides = new Sides();
  const molt = await sides.introduceMolt();
  const outcome = sides.handOver();
  outcome.catch(() => {});
  await molt.shut(true);
  assertEquals(await sides.received(), COMMIT);
  sides.cancel();
  await assertRejects(() => outcome, OwnerUnknownError, "cancelled");
});

Deno.test("an acknowledgement that comes right after cancelling counts", async () => {
  using sides = new Sides();
  const molt = await sides.introduceMolt();
  const outcome = sides.handOver();
  await molt.shut(true);
  assertEquals(await sides.received(), COMMIT);
  sides.cancel();
  await molt.acknowledgeCommit();
  await outcome;
});

Deno.test("a molt that dies without having read COMMIT has not got the guest", async () => {
  using sides = new Sides();
  const molt = await sides.introduceMolt();
  const outcome = sides.handOver();
  outcome.catch(() => {});
  await molt.shut(true);
  // COMMIT lies in the socket unread: closing it resets the connection.
  await new Promise((resolve) => setTimeout(resolve, 50));
  sides.destination[Symbol.dispose]();
  const error = await assertRejects(() => outcome);
  assert(!(error instanceof OwnerUnknownError), String(error));
});

Deno.test("a molt that is silent before COMMIT is asked to give the guest up", async () => {
  using sides = new Sides();
  await sides.introduceMolt();
  await assertRejects(() => sides.handOver(200), MigrationError, "not answered for 200 ms");
  assertEquals(await sides.received(), ABORT);
});

Deno.test("cancelling before COMMIT takes the guest back at once", async () => {
  using sides = new Sides();
  await sides.introduceMolt();
  const outcome = sides.handOver();
  outcome.catch(() => {});
  sides.cancel();
  await assertRejects(() => outcome, MigrationCancelled);
  assertEquals(await sides.received(), ABORT);
});

Deno.test("QEMU has the guest when it says so", async () => {
  using sides = new Sides();
  const qemu = await sides.introduceQemu();
  const outcome = sides.handOver();
  await qemu.shut(true);
  await outcome;
});

Deno.test("QEMU that refuses, or closes the connection without a word, does not have the guest", async () => {
  for (const refuses of [true, false]) {
    using sides = new Sides();
    const qemu = await sides.introduceQemu();
    const outcome = sides.handOver();
    outcome.catch(() => {});
    if (refuses) await qemu.shut(false);
    else sides.destination[Symbol.dispose]();
    assertInstanceOf(await assertRejects(() => outcome), MigrationError);
  }
});

Deno.test("QEMU that is silent, or makes no sense, may have the guest", async () => {
  for (const silent of [true, false]) {
    using sides = new Sides();
    await sides.introduceQemu();
    const outcome = sides.handOver(200);
    outcome.catch(() => {});
    if (!silent) await sides.destination.write(Uint8Array.of(0, 99, 0, 0));
    await assertRejects(() => outcome, OwnerUnknownError);
  }
});
