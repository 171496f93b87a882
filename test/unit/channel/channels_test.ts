import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { DescriptorStore } from "../../../src/backends/descriptor_store.ts";
import { parseUri } from "../../../src/channel/address.ts";
import { ChannelError, type IncomingChannel } from "../../../src/channel/channel.ts";
import { listenForMigration, type MigrationListener } from "../../../src/channel/incoming.ts";
import { openOutgoing } from "../../../src/channel/outgoing.ts";
import { ChannelCancelled } from "../../../src/native/channel.ts";
import { createPipe, openFile, OpenFlags } from "../../../src/native/file.ts";
import { socketPair } from "../../../src/native/socket.ts";

const text = (value: string) => new Uint8Array(new TextEncoder().encode(value));

async function readAll(channel: IncomingChannel): Promise<string> {
  const buffer = new Uint8Array(65536);
  const parts: Uint8Array[] = [];
  for (;;) {
    const count = await channel.read(buffer);
    if (count === 0) break;
    parts.push(buffer.slice(0, count));
  }
  return new TextDecoder().decode(await new Blob(parts as BlobPart[]).arrayBuffer());
}

const none = () => 0;

/** The URI under which a listener that chose its own port is reached. */
function uriOf(listener: MigrationListener): string {
  const [address] = listener.addresses;
  if (address?.type !== "inet") throw new Error("not a TCP listener");
  return address.ipv6
    ? `tcp:[${address.host}]:${address.port}`
    : `tcp:${address.host}:${address.port}`;
}

for (const uri of ["tcp:127.0.0.1:0", "tcp:localhost:0", "unix:DIR/socket"]) {
  Deno.test(`${uri}: megabytes go one way and words the other`, async () => {
    const directory = await Deno.makeTempDir();
    try {
      using given = new DescriptorStore();
      const address = parseUri(uri.replace("DIR", directory));
      using listener = await listenForMigration(address, given);
      const target = address.kind === "inet" ? parseUri(uriOf(listener)) : address;
      using source = await openOutgoing(target, given);
      using channels = await listener.accept(none);
      const { main } = channels;
      const long = "0123456789abcdef".repeat(1 << 17);
      const written = source.write(text(long)).then(() => source.write(text("end")));
      const buffer = new Uint8Array(1 << 16);
      let received = 0;
      while (received < long.length + 3) received += await main.read(buffer);
      await written;
      assertEquals(source.position, long.length + 3);
      await main.returnPath?.write(text("thanks"));
      const answer = new Uint8Array(6);
      assertEquals(await source.returnPath?.read(answer), 6);
      assertEquals(new TextDecoder().decode(answer), "thanks");
      source[Symbol.dispose]();
      assertEquals(await readAll(main), "");
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

Deno.test("unix: the socket file is gone when the channels are there", async () => {
  const directory = await Deno.makeTempDir();
  try {
    using given = new DescriptorStore();
    const address = parseUri(`unix:${directory}/s`);
    using listener = await listenForMigration(address, given);
    assertEquals(listener.addresses, [{ type: "unix", path: `${directory}/s` }]);
    using _source = await openOutgoing(address, given);
    using _channels = await listener.accept(none);
    await assertRejects(() => Deno.stat(`${directory}/s`), Deno.errors.NotFound);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("tcp: of a range of ports the first free one is taken; without a range that is an error", async () => {
  using given = new DescriptorStore();
  using first = await listenForMigration(parseUri("tcp:127.0.0.1:0"), given);
  const port = portOf(first);
  await assertRejects(
    () => listenForMigration(parseUri(`tcp:127.0.0.1:${port}`), given),
    Error,
    "Failed to find an available port: Address already in use",
  );
  using second = await listenForMigration(
    parseUri(`tcp:127.0.0.1:${port},to=${port + 20}`),
    given,
  );
  assert(portOf(second) > port);
});

function portOf(listener: MigrationListener): number {
  const [address] = listener.addresses;
  if (address?.type !== "inet") throw new Error("not a TCP listener");
  return Number(address.port);
}

const failures: readonly [uri: string, message: string][] = [
  ["tcp:127.0.0.1:1", "Failed to connect to '127.0.0.1:1': Connection refused"],
  ["tcp::1", "address resolution failed for :1: Name or service not known"],
  [
    "tcp:127.0.0.1:abc",
    "address resolution failed for 127.0.0.1:abc: Servname not supported for ai_socktype",
  ],
  ["tcp:127.0.0.1:1,ipv4=off,ipv6=off", "Cannot disable IPv4 and IPv6 at same time"],
  ["unix:/nonexistent/x", "Failed to connect to '/nonexistent/x': No such file or directory"],
];

for (const [uri, message] of failures) {
  Deno.test(`${uri} fails as in QEMU when it connects`, async () => {
    using given = new DescriptorStore();
    const error = await assertRejects(async () => await openOutgoing(parseUri(uri), given), Error);
    assertEquals(error.message, message);
  });
}

const impossible: readonly [uri: string, message: string][] = [
  ["fd:nosuch", "File descriptor named 'nosuch' has not been found"],
  ["file:/nonexistent/x", "Could not create '/nonexistent/x': No such file or directory"],
  ["file:/", "Could not create '/': Is a directory"],
  ["file:/dev/fdset/1", "Failed to find fdset /dev/fdset/1"],
  ["file:/dev/fdset/x", "Could not parse fdset /dev/fdset/x"],
];

for (const [uri, message] of impossible) {
  Deno.test(`${uri} fails as in QEMU, at once`, () => {
    using given = new DescriptorStore();
    const error = assertThrows(() => openOutgoing(parseUri(uri), given), Error);
    assertEquals(error.message, message);
  });
}

const unheard: readonly [uri: string, message: string][] = [
  ["unix:/nonexistent/x", "Failed to bind socket to /nonexistent/x: No such file or directory"],
  ["tcp:192.0.2.1:5", "Failed to bind socket: Cannot assign requested address"],
  ["fd:nosuch", "File descriptor named 'nosuch' has not been found"],
  ["file:/nonexistent", "Could not open '/nonexistent': No such file or directory"],
];

for (const [uri, message] of unheard) {
  Deno.test(`-incoming ${uri} fails as in QEMU`, async () => {
    using given = new DescriptorStore();
    const error = await assertRejects(() => listenForMigration(parseUri(uri), given), Error);
    assertEquals(error.message, message);
  });
}

Deno.test("exec: the program gets everything, and its success counts", async () => {
  const directory = await Deno.makeTempDir();
  try {
    using given = new DescriptorStore();
    using channel = await openOutgoing(parseUri(`exec:cat > ${directory}/out`), given);
    await channel.write(text("some bytes"));
    await channel.finish();
    assertEquals(await Deno.readTextFile(`${directory}/out`), "some bytes");

    using failing = await openOutgoing(parseUri("exec:cat > /dev/null; exit 3"), given);
    await failing.write(text("some bytes"));
    const error = await assertRejects(() => failing.finish(), ChannelError);
    assertEquals(error.message, "The command 'cat > /dev/null; exit 3' ended with status 3");

    for (
      const [command, how] of [
        ["exit 0", "ended with status 0 before it had read everything"],
        ["nonexistent-program 2> /dev/null", "ended with status 127 before it had read everything"],
        ["kill -9 $$", "was killed by signal 9 before it had read everything"],
      ]
    ) {
      using early = await openOutgoing(parseUri(`exec:${command}`), given);
      const error = await assertRejects(async () => {
        for (;;) await early.write(new Uint8Array(1 << 20));
      }, ChannelError);
      assertEquals(error.message, `The command '${command}' ${how}`);
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("exec: a program is asked to end when the migration fails before it was finished", async () => {
  const directory = await Deno.makeTempDir();
  try {
    using given = new DescriptorStore();
    const script = `exec 2> /dev/null; trap 'echo ended > ${directory}/how; exit' TERM; ` +
      `echo $$ > ${directory}/pid; while :; do sleep 0.01; done`;
    const channel = await openOutgoing(parseUri(`exec:${script}`), given);
    const appears = async (name: string) => {
      for (;;) {
        try {
          const content = await Deno.readTextFile(`${directory}/${name}`);
          if (content.endsWith("\n")) return content;
        } catch (error) {
          if (!(error instanceof Deno.errors.NotFound)) throw error;
        }
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    await appears("pid");
    channel[Symbol.dispose]();
    assertEquals(await appears("how"), "ended\n");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("exec: what a program prints comes in; its failure shows at the end", async () => {
  using given = new DescriptorStore();
  using good = await listenForMigration(parseUri("exec:echo hello"), given);
  using channels = await good.accept(none);
  assertEquals(await readAll(channels.main), "hello\n");

  using bad = await listenForMigration(parseUri("exec:echo hello; exit 5"), given);
  using failing = await bad.accept(none);
  await assertRejects(() => readAll(failing.main), ChannelError, "ended with status 5");

  const error = await assertRejects(
    () => listenForMigration({ kind: "exec", command: ["/nonexistent"] }, given),
    ChannelError,
  );
  assertEquals(
    error.message,
    "Failed to execute child process “/nonexistent” (No such file or directory)",
  );
});

Deno.test("fd: sockets and pipes by name; a destination's also by number; files are refused", async () => {
  using given = new DescriptorStore();
  const [reader, writer] = createPipe();
  given.setNamed("way-out", writer);
  using source = await openOutgoing(parseUri("fd:way-out"), given);
  assertThrows(
    () => openOutgoing(parseUri("fd:way-out"), given),
    ChannelError,
    "File descriptor named 'way-out' has not been found",
  );
  using listener = await listenForMigration(parseUri(`fd:${reader.release()}`), given);
  using channels = await listener.accept(none);
  await source.write(text("through a pipe"));
  source[Symbol.dispose]();
  assertEquals(await readAll(channels.main), "through a pipe");
  assertEquals(channels.main.returnPath, undefined);

  const [here, there] = socketPair();
  using _there = there;
  given.setNamed("socket", here);
  using duplex = await openOutgoing(parseUri("fd:socket"), given);
  assert(duplex.returnPath !== undefined);

  const path = await Deno.makeTempFile();
  try {
    given.setNamed("file", openFile(path, OpenFlags.readWrite));
    assertThrows(
      () => openOutgoing(parseUri("fd:file"), given),
      ChannelError,
      "fd: migration to a file is not supported. Use file: instead.",
    );
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("a listener that was handed over as a descriptor is listened on", async () => {
  using given = new DescriptorStore();
  const directory = await Deno.makeTempDir();
  try {
    const { listen } = await import("../../../src/native/socket.ts");
    given.setNamed("listener", await listen({ kind: "unix", path: `${directory}/s` }));
    using listener = await listenForMigration(parseUri("fd:listener"), given);
    using source = await openOutgoing(parseUri(`unix:${directory}/s`), given);
    using channels = await listener.accept(none);
    await source.write(text("x"));
    source[Symbol.dispose]();
    assertEquals(await readAll(channels.main), "x");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

/** The first bytes of a main or multifd channel. */
function magic(kind: "main" | "multifd"): Uint8Array<ArrayBuffer> {
  return new Uint8Array(kind === "main" ? [0x51, 0x45, 0x56, 0x4d] : [0x11, 0x22, 0x33, 0x44]);
}

Deno.test("main and multifd channels come in any order, and none of their bytes is lost", async () => {
  using given = new DescriptorStore();
  using listener = await listenForMigration(parseUri("tcp:127.0.0.1:0"), given);
  const address = parseUri(uriOf(listener));
  const accepted = listener.accept(() => 2);
  using first = await openOutgoing(address, given);
  using second = await openOutgoing(address, given);
  using third = await openOutgoing(address, given);
  // The main channel is the second to connect and the last to speak.
  await first.write(magic("multifd").subarray(0, 2));
  await third.write(magic("multifd"));
  await first.write(magic("multifd").subarray(2));
  await second.write(magic("main"));
  await second.write(text("!"));
  using channels = await accepted;
  assertEquals(channels.multifd.length, 2);
  second[Symbol.dispose]();
  assertEquals(await readAll(channels.main), "QEVM!");
});

Deno.test("a connection that is no channel of a migration is an error", async () => {
  using given = new DescriptorStore();
  using listener = await listenForMigration(parseUri("tcp:127.0.0.1:0"), given);
  const accepted = listener.accept(() => 1);
  const address = parseUri(uriOf(listener));
  using stranger = await openOutgoing(address, given);
  using main = await openOutgoing(address, given);
  await main.write(magic("main"));
  await stranger.write(text("GET / HTTP/1.0"));
  await assertRejects(() => accepted, ChannelError, `unknown channel magic: ${0x47455420}`);
});

Deno.test("cancelling ends waiting: for a connection, for bytes, for room", async () => {
  using given = new DescriptorStore();
  using lonely = await listenForMigration(parseUri("tcp:127.0.0.1:0"), given);
  const waiting = lonely.accept(none);
  lonely.cancel();
  await assertRejects(() => waiting, ChannelCancelled);

  using listener = await listenForMigration(parseUri("tcp:127.0.0.1:0"), given);
  using source = await openOutgoing(parseUri(uriOf(listener)), given);
  using channels = await listener.accept(none);
  const writing = source.write(new Uint8Array(64 << 20));
  const reading = source.returnPath?.read(new Uint8Array(1)) ?? Promise.resolve(0);
  const outcomes = Promise.allSettled([writing, reading]);
  source.cancel();
  for (const outcome of await outcomes) {
    assert(outcome.status === "rejected" && outcome.reason instanceof ChannelCancelled);
  }
  await assertRejects(() => source.write(new Uint8Array(1)), ChannelCancelled);
  channels.main.cancel();
  await assertRejects(() => channels.main.read(new Uint8Array(1)), ChannelCancelled);
});

Deno.test("a channel that is closed while a thread writes to it closes when the thread has ended", async () => {
  using given = new DescriptorStore();
  using listener = await listenForMigration(parseUri("tcp:127.0.0.1:0"), given);
  const source = await openOutgoing(parseUri(uriOf(listener)), given);
  using channels = await listener.accept(none);
  const writing = source.write(new Uint8Array(64 << 20));
  source[Symbol.dispose]();
  await assertRejects(() => writing, ChannelCancelled);
  assertThrows(() => source.fd);
  // What fitted into the socket arrives, then the end.
  assert((await readAll(channels.main)).length < 64 << 20);
});

Deno.test("a connection attempt is given up when it is aborted", async () => {
  using given = new DescriptorStore();
  const abort = new AbortController();
  abort.abort();
  await assertRejects(
    async () => await openOutgoing(parseUri("tcp:127.0.0.1:1"), given, abort.signal),
    ChannelCancelled,
  );
});

for (const uri of ["tcp:127.0.0.1:0", "unix:DIR/socket"]) {
  Deno.test(`${uri}: a source that leaves before it has made all its connections is not waited for`, async () => {
    const directory = await Deno.makeTempDir();
    try {
      using given = new DescriptorStore();
      const address = parseUri(uri.replace("DIR", directory));
      using listener = await listenForMigration(address, given);
      const target = address.kind === "inet" ? parseUri(uriOf(listener)) : address;
      const accepted = listener.accept(() => 4);
      {
        using main = await openOutgoing(target, given);
        using multifd = await openOutgoing(target, given);
        await main.write(magic("main"));
        await multifd.write(magic("multifd"));
      }
      await assertRejects(
        () => accepted,
        ChannelError,
        "the source disconnected: 2 of 5 connections were made",
      );
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}
