/** rng-egd: whoever waits for random bytes gets them, however often the source goes away. */
import { assertEquals } from "@std/assert";
import { EgdRng } from "../../../src/backends/rng.ts";
import { Bench, until } from "./bench.ts";

/** Requests a blocking read of so many bytes. */
const READ = 2;

/** The source of entropy: a client of the chardev. */
class Source implements Disposable {
  readonly #connection: Deno.Conn;

  private constructor(connection: Deno.Conn) {
    this.#connection = connection;
  }

  static async connect(path: string): Promise<Source> {
    return new Source(await Deno.connect({ transport: "unix", path }));
  }

  async request(): Promise<number[]> {
    const buffer = new Uint8Array(16);
    const count = await this.#connection.read(buffer);
    return [...buffer.subarray(0, count ?? 0)];
  }

  async answer(...bytes: number[]): Promise<void> {
    await this.#connection.write(Uint8Array.from(bytes));
  }

  [Symbol.dispose](): void {
    this.#connection.close();
  }
}

Deno.test("a request is made once somebody is there, and again if that one leaves without an answer", async () => {
  await using bench = new Bench();
  const path = bench.path("egd");
  const chardev = await bench.create({ backend: "socket", path, server: "on", wait: "off" });
  using rng = new EgdRng(chardev);
  let ready = 0;
  assertEquals(rng.read(4, () => ready++), undefined);
  {
    using first = await Source.connect(path);
    assertEquals(await first.request(), [READ, 4]);
  }
  {
    using second = await Source.connect(path);
    assertEquals(await second.request(), [READ, 4]);
    await second.answer(1, 2);
    await until(() => ready === 1);
    assertEquals(rng.read(4, () => ready++), Uint8Array.of(1, 2));
    // The rest of the first answer is awaited, not asked for.
    assertEquals(rng.read(3, () => ready++), undefined);
    await second.answer(3, 4);
    await until(() => ready === 2);
    assertEquals(rng.read(1, () => ready++), Uint8Array.of(3));
    assertEquals(rng.read(1, () => ready++), Uint8Array.of(4));
    assertEquals(rng.read(300, () => ready++), undefined);
    assertEquals(await second.request(), [READ, 255]);
  }
  using third = await Source.connect(path);
  assertEquals(await third.request(), [READ, 255]);
  await third.answer(5);
  await until(() => ready === 3);
  assertEquals(rng.read(300, () => ready++), Uint8Array.of(5));
});
