/** Waits for peers: however many there are, they hold up nobody else. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ChannelCancelled, ChannelDescriptor } from "../../../src/native/channel.ts";
import { Errno, SystemError } from "../../../src/native/errors.ts";
import { openFile, OpenFlags } from "../../../src/native/file.ts";
import { awaitChild, spawn } from "../../../src/native/process.ts";
import { resolveInet } from "../../../src/native/resolve.ts";
import { accept, acceptNext, connect, listen, socketPair } from "../../../src/native/socket.ts";
import { symbols } from "../../../src/native/symbols.ts";
import { yieldToOthers } from "../../../src/native/wait.ts";
import { TemporaryDirectory } from "../../support/temporary_directory.ts";

/** More than the runtime has threads for calls that block. */
const MANY = 100;

Deno.test("no call but the event loop's own wait holds a thread of the runtime's", () => {
  const held = Object.entries(symbols)
    .flatMap(([name, symbol]) => "nonblocking" in symbol ? [name] : []);
  assertEquals(held, ["molt_wait_idle", "molt_yield"]);
});

Deno.test(`${MANY} peers that read nothing and ${MANY} that say nothing delay nobody else`, async () => {
  using owner = new DisposableStack();
  const megabyte = new Uint8Array(1 << 20);
  const pairs = Array.from({ length: MANY }, () => {
    const [near, far] = socketPair();
    return [
      owner.use(new ChannelDescriptor(near)),
      owner.use(new ChannelDescriptor(far)),
    ] as const;
  });
  const writes = pairs.map(([near]) => near.write(megabyte));
  const reads = pairs.map(([near]) => near.read(new Uint8Array(8)));
  await yieldToOthers();
  assert((await resolveInet({ host: "127.0.0.1", port: "1" }, false)).length > 0);
  assertEquals(await awaitChild(spawn(["true"])), { kind: "exited", status: 0 });

  // Half of the peers wake up, the others are given up.
  const settled = [...writes, ...reads].map((promise) =>
    promise.then(() => true, (error) => error)
  );
  for (const [i, [near, far]] of pairs.entries()) {
    if (i % 2 === 0) {
      assertEquals(await far.readFully(new Uint8Array(megabyte.length)), megabyte.length);
      await far.write(new Uint8Array(8));
    } else near.cancel();
  }
  for (const [i, outcome] of (await Promise.all(settled)).entries()) {
    if (i % MANY % 2 === 0) assertEquals(outcome, true);
    else assert(outcome instanceof ChannelCancelled);
  }
});

Deno.test("a channel is read, written and watched for its end at once", async () => {
  const [one, other] = socketPair();
  using near = new ChannelDescriptor(one);
  const far = new ChannelDescriptor(other);
  const ended = near.hungUp();
  const read = near.read(new Uint8Array(8));
  const written = near.write(new Uint8Array(1 << 20));
  assertEquals(await far.readFully(new Uint8Array(1 << 20)), 1 << 20);
  await written;
  await far.write(new Uint8Array(8));
  assertEquals(await read, 8);
  far[Symbol.dispose]();
  await ended;
});

/** A unix socket whose queue is full. */
async function fullQueue(owner: DisposableStack) {
  const address = {
    kind: "unix",
    path: owner.use(new TemporaryDirectory()).file("socket"),
  } as const;
  const listener = owner.use(await listen(address, 0));
  owner.use(await connect(address));
  return { address, listener };
}

Deno.test("connecting waits for a place in a unix socket's queue", async () => {
  using owner = new DisposableStack();
  const { address, listener } = await fullQueue(owner);
  const waiting = Array.from({ length: MANY }, () => connect(address));
  assert((await resolveInet({ host: "127.0.0.1", port: "1" }, false)).length > 0);
  for (let count = 0; count < 1 + MANY; count++) owner.use(await acceptNext(listener.fd));
  for (const connection of await Promise.all(waiting)) owner.use(connection);
  assertEquals(accept(listener.fd), undefined);
});

Deno.test("waiting for a place can be given up, and ends with the listener", async () => {
  using owner = new DisposableStack();
  const { address, listener } = await fullQueue(owner);
  const given = new AbortController();
  const reason = new Error("given up");
  const waiting = connect(address, given.signal);
  const other = connect(address);
  given.abort(reason);
  assertEquals(await assertRejects(() => waiting), reason);
  assertEquals(await assertRejects(() => connect(address, given.signal)), reason);
  listener[Symbol.dispose]();
  const error = await assertRejects(() => other, SystemError);
  assertEquals(error.errno, Errno.ECONNREFUSED);
});

Deno.test("a file's channel says how far it came, also after its end", async () => {
  const path = await Deno.makeTempFile();
  try {
    const channel = new ChannelDescriptor(openFile(path, OpenFlags.readWrite), 100);
    await channel.write(new Uint8Array(5));
    assertEquals(channel.position, 105);
    channel[Symbol.dispose]();
    assertEquals(channel.position, 105);
  } finally {
    await Deno.remove(path);
  }
});
