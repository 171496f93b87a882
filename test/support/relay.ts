/**
 * What lies between a source and a destination: a relay of the bytes in both directions that a test can
 * have drop what comes after the destination has said that it is loaded.
 */

/** What is not passed on once the destination has said SHUT. */
export type Dropped = "from the source" | "from the destination";

/** SHUT 0 of the return path: u16 1, u16 4, u32 0. */
const SHUT = Uint8Array.of(0, 1, 0, 4, 0, 0, 0, 0);

/** One connection to `from` is passed on to `to`. */
export class Relay implements AsyncDisposable {
  readonly #listener: Deno.UnixListener;
  readonly #done: Promise<void>;
  readonly #connections: Deno.UnixConn[] = [];
  #shut = false;

  constructor(from: string, to: string, dropped: Dropped) {
    this.#listener = Deno.listen({ transport: "unix", path: from });
    this.#done = this.#relay(to, dropped).catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#connections) connection.close();
    await this.#done;
  }

  async #relay(to: string, dropped: Dropped): Promise<void> {
    const source = await this.#listener.accept();
    this.#connections.push(source);
    const destination = await Deno.connect({ transport: "unix", path: to });
    this.#connections.push(destination);
    await Promise.all([
      pass(source, destination, () => this.#shut && dropped === "from the source"),
      pass(destination, source, (bytes) => {
        const before = this.#shut;
        this.#shut ||= endsWith(bytes, SHUT);
        return before && dropped === "from the destination";
      }),
    ]);
  }
}

function endsWith(bytes: Uint8Array, end: Uint8Array): boolean {
  const at = bytes.length - end.length;
  return at >= 0 && end.every((byte, index) => bytes[at + index] === byte);
}

/** Passes bytes on, but for those that `drops` takes away. */
async function pass(
  from: Deno.UnixConn,
  to: Deno.UnixConn,
  drops: (bytes: Uint8Array) => boolean,
): Promise<void> {
  const buffer = new Uint8Array(1 << 16);
  for (;;) {
    const count = await from.read(buffer);
    if (count === null) return;
    const bytes = buffer.subarray(0, count);
    if (drops(bytes)) continue;
    for (let done = 0; done < count;) done += await to.write(bytes.subarray(done));
  }
}
