import { assertEquals } from "@std/assert";
import { StreamChannel } from "../../../src/channel/stream.ts";
import { StreamSender } from "../../../src/migration/stream_sender.ts";
import { StreamWriter } from "../../../src/migration/stream/stream_writer.ts";
import { endSending, socketPair } from "../../../src/native/socket.ts";

/** Everything that comes through a channel. */
async function readAll(channel: StreamChannel): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for (;;) {
    const piece = new Uint8Array(65536);
    const count = await channel.read(piece);
    if (count === 0) {
      return new Uint8Array(await new Blob(pieces.map((p) => p.slice())).arrayBuffer());
    }
    pieces.push(piece.subarray(0, count));
  }
}

Deno.test("parts that a slow destination has no room for follow whole and in order", async () => {
  const [here, there] = socketPair();
  using channel = new StreamChannel(here, true);
  using destination = new StreamChannel(there, true);
  const writer = new StreamWriter();
  const sender = new StreamSender(writer, channel);
  const expected: number[] = [];
  // Four times what the socket holds.
  for (let part = 0; part < 200; part++) {
    for (let i = 0; i < 4096; i++) {
      writer.buffer.u8((part + i) % 251);
      expected.push((part + i) % 251);
    }
    sender.sendWhatFits();
  }
  const [received] = await Promise.all([
    readAll(destination),
    sender.flush().then(() => endSending(channel.fd)),
  ]);
  assertEquals(received.length, expected.length);
  assertEquals(received.findIndex((byte, i) => byte !== expected[i]), -1);
});

Deno.test("what fits is there at once", async () => {
  const [here, there] = socketPair();
  using channel = new StreamChannel(here, true);
  using destination = new StreamChannel(there, true);
  const writer = new StreamWriter();
  writer.buffer.u32(0x01020304);
  new StreamSender(writer, channel).sendWhatFits();
  assertEquals(writer.buffer.length, 0);
  const bytes = new Uint8Array(8);
  assertEquals(await destination.read(bytes), 4);
  assertEquals([...bytes], [1, 2, 3, 4, 0, 0, 0, 0]);
});
