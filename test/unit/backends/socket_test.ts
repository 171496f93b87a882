import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { SocketChardev } from "../../../src/backends/socket.ts";
import { Descriptor, type Fd } from "../../../src/native/descriptor.ts";
import { monotonicTime } from "../../../src/native/event_loop.ts";
import { createPipe } from "../../../src/native/file.ts";
import {
  acceptNext,
  boundAddress,
  connect,
  endSending,
  listen,
  receive,
  send,
  socketPair,
} from "../../../src/native/socket.ts";
import { Bench, bytesOf, goOn, handOver, record, until } from "./bench.ts";

/** All that arrives at `socket` until there are `length` bytes. */
async function receiveAll(socket: Fd, length: number): Promise<string> {
  let text = "";
  const buffer = new Uint8Array(65536);
  await until(() => {
    const received = receive(socket, buffer);
    text += new TextDecoder().decode(buffer.subarray(0, received?.length ?? 0));
    return text.length >= length;
  });
  return text;
}

/** True once the other side of `socket` has closed it. */
function ended(socket: Fd): boolean {
  return receive(socket, new Uint8Array(1))?.length === 0;
}

Deno.test("a server serves one client after the other", async () => {
  await using bench = new Bench();
  const path = bench.path("s");
  const chardev = await bench.create({ backend: "socket", path, server: "on", wait: "off" });
  assertEquals(chardev.filename, `disconnected:unix:${path},server=on`);
  const recorder = record(chardev);
  assertEquals(chardev.write(bytesOf("lost")), 4);
  {
    using first = await connect({ kind: "unix", path });
    using second = await connect({ kind: "unix", path });
    await until(() => recorder.events.length === 1);
    assertEquals(chardev.filename, `unix:${path},server=on`);
    send(second.fd, bytesOf("second"));
    send(first.fd, bytesOf("first "));
    await until(() => recorder.text === "first ");
    chardev.write(bytesOf("hello"));
    assertEquals(await receiveAll(first.fd, 5), "hello");
    first[Symbol.dispose]();
    await until(() => recorder.text === "first second");
  }
  await until(() => recorder.events.length === 4);
  assertEquals(recorder.events, ["opened", "closed", "opened", "closed"]);
});

Deno.test("inet sockets show both addresses while connected", async () => {
  await using bench = new Bench();
  const server = await bench.create({
    id: "server",
    backend: "socket",
    host: "127.0.0.1",
    port: "0",
    server: "on",
    wait: "off",
  });
  const [, port = ""] = /:(\d+),server=on$/.exec(server.filename) ?? [];
  assertEquals(server.filename, `disconnected:tcp:127.0.0.1:${port},server=on`);
  const client = await bench.create({ id: "client", backend: "socket", host: "127.0.0.1", port });
  const recorder = record(server);
  await until(() => server.open);
  const [, local = ""] = /^tcp:127.0.0.1:(\d+) <-> 127.0.0.1:(\d+)$/.exec(client.filename) ?? [];
  assertEquals(client.filename, `tcp:127.0.0.1:${local} <-> 127.0.0.1:${port}`);
  assertEquals(server.filename, `tcp:127.0.0.1:${port},server=on <-> 127.0.0.1:${local}`);
  client.write(bytesOf("over tcp"));
  await until(() => recorder.text === "over tcp");
});

Deno.test("with wait=on the device is there once its first client is", async () => {
  await using bench = new Bench();
  const path = bench.path("s");
  let made = false;
  const making = bench.create({ backend: "socket", path, server: "on" }).then((chardev) => {
    made = true;
    return chardev;
  });
  await until(() => bench.reported.length === 1);
  assertEquals(bench.reported, [
    `info: QEMU waiting for connection on: disconnected:unix:${path},server=on`,
  ]);
  assertEquals(made, false);
  using _client = await connect({ kind: "unix", path });
  const chardev = await making;
  assertEquals(record(chardev).events, ["opened"]);
});

Deno.test("a client with reconnect-ms waits for its server and comes back to it", async () => {
  await using bench = new Bench();
  const path = bench.path("s");
  const chardev = await bench.create({ backend: "socket", path, "reconnect-ms": "5" });
  const recorder = record(chardev);
  await until(() => bench.reported.length >= 1);
  // Reported once, however often it is tried.
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals(bench.reported, [
    `Unable to connect character device test: Failed to connect to '${path}': ` +
    "No such file or directory",
  ]);
  using listener = await listen({ kind: "unix", path });
  await until(() => chardev.open);
  chardev.write(bytesOf("once"));
  assertEquals(recorder.events, ["opened"]);
  listener[Symbol.dispose]();
  using again = await listen({ kind: "unix", path });
  await until(() => recorder.events.length === 3);
  assertEquals(recorder.events, ["opened", "closed", "opened"]);
  assertEquals(boundAddress(again.fd), { kind: "unix", path });
});

Deno.test("a client without reconnect-ms stays closed when its server leaves", async () => {
  await using bench = new Bench();
  const [ours, theirs] = socketPair();
  const chardev = await bench.create({ backend: "socket", fd: String(theirs.release()) });
  const recorder = record(chardev);
  ours[Symbol.dispose]();
  await until(() => recorder.events.includes("closed"));
  assertEquals(chardev.open, false);
  assertEquals(chardev.write(bytesOf("lost")), 4);
});

Deno.test("input comes no faster than the frontend takes it, and none is lost at the end", async () => {
  await using bench = new Bench();
  const [ours, theirs] = socketPair();
  using client = ours;
  const chardev = await bench.create({ backend: "socket", fd: String(theirs.release()) });
  const recorder = record(chardev);
  recorder.capacity = 3;
  send(client.fd, bytesOf("0123456789"));
  endSending(client.fd);
  await until(() => recorder.text === "012");
  for (let taken = 4; taken <= 10; taken++) {
    recorder.capacity = 1;
    chardev.acceptInput();
    await until(() => recorder.text.length === taken);
  }
  assertEquals(recorder.text, "0123456789");
  assertEquals(recorder.events, ["opened"]);
  recorder.capacity = 1;
  chardev.acceptInput();
  await until(() => recorder.events.includes("closed"));
});

Deno.test("a client that left while its input is unread makes room for the next", async () => {
  await using bench = new Bench();
  const path = bench.path("s");
  const chardev = await bench.create({ backend: "socket", path, server: "on", wait: "off" });
  const recorder = record(chardev);
  recorder.capacity = 0;
  {
    using first = await connect({ kind: "unix", path });
    send(first.fd, bytesOf("never read"));
    await until(() => chardev.open);
  }
  using _second = await connect({ kind: "unix", path });
  await until(() => recorder.events.length === 3);
  recorder.capacity = Infinity;
  assertEquals(recorder.events, ["opened", "closed", "opened"]);
  assertEquals(recorder.text, "");
});

Deno.test("an idle frontend that takes nothing does not keep the loop busy over a hang-up", async () => {
  await using bench = new Bench();
  const [ours, theirs] = socketPair();
  const chardev = await bench.create({ backend: "socket", fd: String(theirs.release()) });
  const recorder = record(chardev);
  let asked = 0;
  recorder.canReceive = () => {
    asked++;
    return 0;
  };
  send(ours.fd, bytesOf("unread"));
  ours[Symbol.dispose]();
  await until(() => recorder.events.includes("closed"));
  const before = asked;
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals(asked, before);
});

Deno.test("output to a client that does not read waits; what it then reads is complete", async () => {
  await using bench = new Bench();
  const [ours, theirs] = socketPair();
  using client = ours;
  const chardev = await bench.create({ backend: "socket", fd: String(theirs.release()) });
  record(chardev);
  const line = bytesOf("0123456789".repeat(100));
  const total = 2_000_000;
  let sent = 0;
  let waits = 0;
  const write = () => {
    while (sent < total) {
      const part = line.slice(sent % line.length);
      const taken = chardev.write(part, () => {
        waits++;
        write();
      });
      sent += taken;
      if (taken < part.length) return;
    }
  };
  write();
  assertEquals(sent < total, true);
  const text = await receiveAll(client.fd, total);
  assertEquals(text, "0123456789".repeat(total / 10));
  assertEquals(waits > 0, true);
});

Deno.test("output that waits for a client is let go when the client leaves", async () => {
  await using bench = new Bench();
  const [ours, theirs] = socketPair();
  const chardev = await bench.create({ backend: "socket", fd: String(theirs.release()) });
  record(chardev);
  const block = new Uint8Array(1 << 20);
  let writable = false;
  const taken = chardev.write(block, () => writable = true);
  assertEquals(taken < block.length, true);
  ours[Symbol.dispose]();
  await until(() => writable);
  assertEquals(chardev.write(block), block.length);
});

Deno.test("descriptors that come with bytes are the frontend's to take; others are closed", async () => {
  await using bench = new Bench();
  const [ours, theirs] = socketPair();
  using client = ours;
  const chardev = await bench.create({ backend: "socket", fd: String(theirs.release()) });
  const recorder = record(chardev);
  const [reader, writer] = createPipe();
  using _reader = reader;
  send(client.fd, bytesOf("a"), [writer.fd]);
  await until(() => recorder.text === "a");
  const [taken, ...rest] = chardev.takeDescriptors();
  using passenger = taken ?? new Descriptor(-1);
  assertEquals(rest, []);
  assertEquals(chardev.takeDescriptors(), []);
  assertEquals(passenger.closed, false);
  send(client.fd, bytesOf("b"), [writer.fd]);
  await until(() => recorder.text === "ab");
  send(client.fd, bytesOf("c"), [reader.fd]);
  await until(() => recorder.text === "abc");
  const later = chardev.takeDescriptors();
  assertEquals(later.length, 1);
  for (const descriptor of later) descriptor[Symbol.dispose]();
  writer[Symbol.dispose]();
});

Deno.test("sockets may come as descriptors: by number, or by a name that a monitor gave", async () => {
  await using bench = new Bench();
  const path = bench.path("s");
  using listener = await listen({ kind: "unix", path });
  bench.named.set("listener", listener.duplicate());
  const chardev = await bench.chardevs.create({
    id: "named",
    backend: {
      kind: "socket",
      address: { kind: "named", name: "listener" },
      role: { kind: "server", wait: false },
    },
    logappend: false,
    mux: false,
    cpr: false,
  });
  assertEquals(chardev.filename, `disconnected:unix:${path},server=on`);
  using _client = await connect({ kind: "unix", path });
  await until(() => chardev.open);
  const [reader, writer] = createPipe();
  using _reader = reader;
  using pipe = writer;
  await assertRejects(
    () => bench.create({ backend: "socket", fd: String(pipe.fd) }),
    Error,
    `File descriptor '${pipe.fd}' is not a socket`,
  );
  await assertRejects(
    () => bench.create({ backend: "socket", fd: "999" }),
    Error,
    "File descriptor '999' is not a socket",
  );
});

Deno.test("a listener and a connection that were handed on go on once the guest is here, with their unread bytes", async () => {
  await using bench = new Bench();
  const path = bench.path("s");
  const properties = { backend: "socket", path, server: "on", wait: "on", cpr: "on" };
  const first = await bench.create({ ...properties, wait: "off" });
  using client = await connect({ kind: "unix", path });
  await until(() => first.open);
  send(client.fd, bytesOf("sent before"));
  using next = await connect({ kind: "unix", path });
  send(next.fd, bytesOf("next"));
  await using successor = new Bench({ takesOver: true });
  handOver(bench, successor);
  assertEquals([...successor.left.keys()], [
    "chardev/test/listener 0",
    "chardev/test/connection 0",
  ]);
  const chardev = await successor.create(properties);
  const recorder = record(chardev);
  assertEquals([recorder.events, chardev.open], [[], false]);
  assertEquals(chardev.write(bytesOf("too early")), 0);
  goOn(bench, successor);
  assertEquals(recorder.events, ["opened"]);
  await until(() => recorder.text === "sent before");
  chardev.write(bytesOf("from the successor"));
  assertEquals(await receiveAll(client.fd, 18), "from the successor");
  assertEquals(ended(client.fd), false);
  client[Symbol.dispose]();
  // Who came meanwhile waits in the listener's queue.
  await until(() => recorder.text === "sent beforenext");
});

Deno.test("a connection of whose session nothing is known is closed: the client connects again", async () => {
  await using bench = new Bench();
  const path = bench.path("s");
  const properties = { backend: "socket", path, server: "on", wait: "on", cpr: "on" };
  const first = await bench.create({ ...properties, wait: "off" });
  using client = await connect({ kind: "unix", path });
  await until(() => first.open);
  await using successor = new Bench({ takesOver: true });
  handOver(bench, successor);
  const chardev = await successor.create(properties);
  bench.chardevs.giveAway();
  successor.chardevs.restore(undefined);
  successor.chardevs.begin();
  await until(() => ended(client.fd));
  using _again = await connect({ kind: "unix", path });
  await until(() => chardev.open);
});

Deno.test("without cpr=on a successor listens anew and leaves a predecessor's descriptors alone", async () => {
  await using bench = new Bench();
  const path = bench.path("s");
  const properties = { backend: "socket", path, server: "on", wait: "off" };
  await bench.create({ ...properties, cpr: "on" });
  await using successor = new Bench({ takesOver: true });
  handOver(bench, successor);
  const chardev = await successor.create(properties);
  assertEquals([...successor.left.keys()], ["chardev/test/listener 0"]);
  using _client = await connect({ kind: "unix", path });
  await until(() => chardev.open);
  assertEquals(successor.chardevs.descriptors(), []);
});

Deno.test("a listener whose number the options name goes on under it, also without cpr=on", async () => {
  await using bench = new Bench();
  const path = bench.path("s");
  const listener = await listen({ kind: "unix", path });
  const number = listener.release();
  const properties = { backend: "socket", fd: String(number), server: "on", wait: "off" };
  const first = await bench.create(properties);
  using _client = await connect({ kind: "unix", path });
  await until(() => first.open);
  assertEquals(bench.chardevs.descriptors(), []);
  assertEquals(bench.chardevs.numberedDescriptors(), [
    { name: "chardev/test/listener", id: 0, fd: number },
  ]);
});

Deno.test("a client goes on with its connection; one that had lost it stays without", async () => {
  for (const connected of [true, false]) {
    await using bench = new Bench();
    const path = bench.path("s");
    const listener = await listen({ kind: "unix", path });
    const properties = { backend: "socket", path, cpr: "on" };
    const first = await bench.create(properties);
    const server = await acceptNext(listener.fd);
    using _server = server;
    listener[Symbol.dispose]();
    record(first);
    if (!connected) {
      server[Symbol.dispose]();
      await until(() => !first.open);
    }
    await using successor = new Bench({ takesOver: true });
    handOver(bench, successor);
    const second = await successor.create(properties);
    const recorder = record(second);
    goOn(bench, successor);
    assertEquals(recorder.events, connected ? ["opened"] : []);
    assertEquals(successor.reported, []);
  }
});

Deno.test("the socket file goes with the device, unless another process has replaced it", async () => {
  await using bench = new Bench();
  const path = bench.path("s");
  await bench.create({ backend: "socket", path, server: "on", wait: "off" });
  bench.chardevs.remove("test");
  assertThrows(() => Deno.lstatSync(path), Deno.errors.NotFound);
  await bench.create({ backend: "socket", path, server: "on", wait: "off" });
  using _replacement = await listen({ kind: "unix", path });
  bench.chardevs.remove("test");
  assertEquals(Deno.lstatSync(path).isSocket, true);
});

Deno.test("abstract sockets have no file", async () => {
  await using bench = new Bench();
  const path = `molt-test-${Deno.pid}-${monotonicTime()}`;
  const chardev = await bench.create({
    backend: "socket",
    path,
    abstract: "on",
    server: "on",
    wait: "off",
  });
  assertEquals(
    chardev.filename,
    `disconnected:unix:${path},abstract=on,tight=on,server=on`,
  );
  using _client = await connect({ kind: "unix", path, abstract: true });
  await until(() => chardev.open);
  assertEquals(chardev instanceof SocketChardev, true);
});
