/** The other side of a card that speaks over a stream: what the guest virtio_net talks to. */

import { assertEquals } from "@std/assert";

const PREFIX = 4;
const TYPE = 12;
const RARP = 0x8035;
const ECHO = 0x88b5;
const REQUEST = 0x88b6;
const ANSWER = 0x88b7;

/** Listens at `path` and answers frames as test/guests/virtio_net.S says, each to whom it came from. */
export class EchoPeer implements AsyncDisposable {
  readonly path: string;
  /** Connections so far. */
  connections = 0;
  /** Source addresses of the RARP requests that were broadcast. */
  readonly announced: string[] = [];
  readonly #listener: Deno.UnixListener;
  readonly #open = new Set<Deno.UnixConn>();
  readonly #running: Promise<void>;

  constructor(path: string) {
    this.path = path;
    this.#listener = Deno.listen({ transport: "unix", path });
    this.#running = this.#listen();
  }

  /** The -netdev that connects to it. */
  get netdev(): string {
    return `stream,id=n0,server=off,addr.type=unix,addr.path=${this.path}`;
  }

  /** Ends the connections that there are, and goes on listening. */
  disconnect(): void {
    for (const connection of this.#open) connection.closeWrite().catch(() => {});
  }

  async #listen(): Promise<void> {
    const served: Promise<void>[] = [];
    for await (const connection of this.#listener) {
      this.connections++;
      served.push(this.#serve(connection));
    }
    await Promise.all(served);
  }

  async #serve(connection: Deno.UnixConn): Promise<void> {
    this.#open.add(connection);
    const buffer = new Uint8Array(1 << 18);
    let filled = 0;
    try {
      for (;;) {
        const count = await connection.read(buffer.subarray(filled));
        if (count === null) return;
        filled += count;
        const view = new DataView(buffer.buffer);
        let at = 0;
        while (filled - at >= PREFIX && filled - at >= PREFIX + view.getUint32(at)) {
          const end = at + PREFIX + view.getUint32(at);
          const type = view.getUint16(at + PREFIX + TYPE);
          if (type === ECHO) {
            await writeAll(connection, buffer.slice(at, end));
          } else if (type === REQUEST) {
            const frames = view.getUint32(at + PREFIX + TYPE + 2, true);
            const size = view.getUint32(at + PREFIX + TYPE + 6, true);
            await writeAll(connection, answer(frames, size));
          }
          if (type === RARP) this.announced.push(announcer(buffer.subarray(at + PREFIX, end)));
          at = end;
        }
        buffer.copyWithin(0, at, filled);
        filled -= at;
      }
    } catch (error) {
      // The machine has ended.
      if (
        !(error instanceof Deno.errors.ConnectionReset) &&
        !(error instanceof Deno.errors.BrokenPipe) && !(error instanceof Deno.errors.BadResource) &&
        !(error instanceof Deno.errors.Interrupted)
      ) throw error;
    } finally {
      this.#open.delete(connection);
      connection.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.disconnect();
    await this.#running;
  }
}

/** Who sent a RARP request. Fails if it is not one for the sender itself, to everybody. */
function announcer(frame: Uint8Array): string {
  const hex = (from: number, length: number) =>
    Array.from(frame.subarray(from, from + length), (byte) => byte.toString(16).padStart(2, "0"))
      .join(":");
  assertEquals(frame.length, 60);
  assertEquals(hex(0, 6), "ff:ff:ff:ff:ff:ff");
  // RFC 826 and 903: Ethernet, IPv4, lengths, "request reverse".
  assertEquals(hex(14, 8), "00:01:08:00:06:04:00:03");
  assertEquals([hex(22, 6), hex(32, 6)], [hex(6, 6), hex(6, 6)]);
  return hex(6, 6);
}

function answer(frames: number, size: number): Uint8Array {
  const bytes = new Uint8Array(frames * (PREFIX + size));
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < frames; i++) {
    const at = i * (PREFIX + size);
    view.setUint32(at, size);
    bytes.fill(0xff, at + PREFIX, at + PREFIX + 6);
    view.setUint16(at + PREFIX + TYPE, ANSWER);
  }
  return bytes;
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}
