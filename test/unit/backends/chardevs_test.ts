import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { ChardevError } from "../../../src/backends/chardev.ts";
import { PtyChardev } from "../../../src/backends/pty.ts";
import { RingbufChardev } from "../../../src/backends/ringbuf.ts";
import { createPipe, openFile, OpenFlags, read, write } from "../../../src/native/file.ts";
import { socketPair } from "../../../src/native/socket.ts";
import {
  Bench,
  bytesOf,
  goOn,
  handOver,
  openDescriptors,
  record,
  Recorder,
  until,
} from "./bench.ts";

Deno.test("null takes all output and nobody is at its other end", async () => {
  await using bench = new Bench();
  const chardev = await bench.create({ backend: "null" });
  const recorder = record(chardev);
  assertEquals(chardev.write(bytesOf("lost")), 4);
  assertEquals(recorder.events, []);
});

Deno.test("file output is in the file when write returns; append keeps what was there", async () => {
  await using bench = new Bench();
  const path = bench.path("out");
  Deno.writeTextFileSync(path, "old");
  const first = await bench.create({ id: "a", backend: "file", path });
  first.write(bytesOf("new"));
  assertEquals(Deno.readTextFileSync(path), "new");
  const second = await bench.create({ id: "b", backend: "file", path, append: "on" });
  second.write(bytesOf("er"));
  assertEquals(Deno.readTextFileSync(path), "newer");
});

Deno.test("file input comes from input-path, no faster than the frontend takes it", async () => {
  await using bench = new Bench();
  Deno.writeTextFileSync(bench.path("in"), "0123456789");
  const chardev = await bench.create({
    backend: "file",
    path: bench.path("out"),
    "input-path": bench.path("in"),
  });
  const recorder = record(chardev);
  recorder.capacity = 0;
  await new Promise((resolve) => setTimeout(resolve, 10));
  assertEquals(recorder.text, "");
  recorder.capacity = 4;
  chardev.acceptInput();
  await until(() => recorder.text === "0123");
  recorder.capacity = Infinity;
  chardev.acceptInput();
  await until(() => recorder.text === "0123456789");
});

Deno.test("/dev/fdset/N stands for a descriptor in every path of a character device", async () => {
  await using bench = new Bench();
  const { descriptors } = bench;
  const give = (path: string, flags: number) =>
    descriptors.addToSet(1, openFile(path, flags | OpenFlags.create), undefined);
  Deno.writeTextFileSync(bench.path("in"), "input");
  give(bench.path("in"), OpenFlags.readOnly);
  give(bench.path("out"), OpenFlags.writeOnly);
  const file = await bench.create({
    id: "file",
    backend: "file",
    path: "/dev/fdset/1",
    "input-path": "/dev/fdset/1",
  });
  const recorder = record(file);
  file.write(bytesOf("output"));
  assertEquals(Deno.readTextFileSync(bench.path("out")), "output");
  await until(() => recorder.text === "input");
  descriptors.removeFromSet(1);

  give(bench.path("log"), OpenFlags.writeOnly);
  const logged = await bench.create({ id: "logged", backend: "null", logfile: "/dev/fdset/1" });
  logged.write(bytesOf("logged"));
  assertEquals(Deno.readTextFileSync(bench.path("log")), "logged");

  give(bench.path("pipe"), OpenFlags.readWrite);
  await bench.create({ id: "pipe", backend: "pipe", path: "/dev/fdset/1" });
  const refusal = async (properties: Record<string, string>) =>
    (await assertRejects(() => bench.create({ id: "x", ...properties }), Error)).message;
  assertEquals(
    await refusal({ backend: "file", path: "/dev/fdset/9" }),
    "Could not open '/dev/fdset/9': No such file or directory",
  );
  assertEquals(
    await refusal({ backend: "file", path: "/dev/null", "input-path": "/dev/fdset/1" }),
    "Could not open '/dev/fdset/1': Permission denied",
  );
  assertEquals(
    await refusal({ backend: "pipe", path: "/dev/fdset/x" }),
    "Could not open '/dev/fdset/x': Invalid argument",
  );
  assertEquals(
    await refusal({ backend: "null", logfile: "/dev/fdset/9" }),
    "Failed to find fdset /dev/fdset/9",
  );
});

Deno.test("output to a pipe waits for its reader, who may be slow, and so does a log for a while", async () => {
  await using bench = new Bench();
  const [reader, writer] = createPipe(OpenFlags.nonBlocking);
  using _ = reader;
  bench.descriptors.addToSet(1, writer, undefined);
  const file = await bench.create({
    id: "file",
    backend: "file",
    path: "/dev/fdset/1",
    append: "on",
  });
  const bytes = new Uint8Array(1 << 20);
  let writable = 0;
  const taken = file.write(bytes, () => writable++);
  assert(taken > 0 && taken < bytes.length, `${taken} bytes`);
  const buffer = new Uint8Array(1 << 20);
  for (let read_ = 0; read_ < taken;) read_ += read(reader.fd, buffer) ?? 0;
  await until(() => writable === 1);

  const log = await bench.create({
    id: "log",
    backend: "null",
    logfile: "/dev/fdset/1",
    logappend: "on",
  });
  assertEquals(log.write(bytes), bytes.length);
  assertEquals(log.write(bytes), bytes.length);
  assertEquals(bench.reported, ["output to '/dev/fdset/1' is lost: nobody reads it"]);
});

Deno.test("files that cannot be opened are named, and nothing stays open", async () => {
  await using bench = new Bench();
  const before = openDescriptors();
  const cases: [Record<string, string>, string][] = [
    [{ backend: "file", path: "/nonexistent/x" }, "Could not open '/nonexistent/x'"],
    [
      { backend: "file", path: bench.path("o"), "input-path": "/nonexistent/y" },
      "Could not open '/nonexistent/y'",
    ],
    [{ backend: "pipe", path: "/nonexistent/p" }, "Could not open '/nonexistent/p'"],
    [{ backend: "null", logfile: "/nonexistent/l" }, "Could not create '/nonexistent/l'"],
    [
      { backend: "socket", path: "/nonexistent/s", server: "on", wait: "off" },
      "Failed to bind socket to /nonexistent/s",
    ],
    [{ backend: "socket", path: "/nonexistent/s" }, "Failed to connect to '/nonexistent/s'"],
    [{ backend: "fd", fd: "999" }, "File descriptor '999' is not open"],
    [{ backend: "mux", chardev: "nope" }, "mux: base chardev nope not found"],
  ];
  for (const [properties, message] of cases) {
    const error = await assertRejects(() => bench.create(properties), Error);
    assertStringIncludes(error.message, message);
  }
  assertEquals(openDescriptors(), before);
  assertEquals(bench.chardevs.list(), []);
});

Deno.test("a logfile gets a copy of what the other end took", async () => {
  await using bench = new Bench();
  const log = bench.path("log");
  const chardev = await bench.create({ backend: "null", logfile: log });
  chardev.write(bytesOf("one "));
  chardev.write(bytesOf("two"));
  assertEquals(Deno.readTextFileSync(log), "one two");
});

Deno.test("ringbuf keeps the latest bytes and gives each once", async () => {
  await using bench = new Bench();
  const chardev = await bench.create({ backend: "ringbuf", size: "8" });
  if (!(chardev instanceof RingbufChardev)) throw new Error("not a ringbuf");
  chardev.write(bytesOf("0123456789"));
  assertEquals(new TextDecoder().decode(chardev.read(3)), "234");
  chardev.write(bytesOf("ab"));
  assertEquals(new TextDecoder().decode(chardev.read(100)), "56789ab");
  assertEquals(chardev.read(1).length, 0);
});

Deno.test("pipe reads PATH.in and writes PATH.out", async () => {
  await using bench = new Bench();
  const path = bench.path("pipe");
  const made = new Deno.Command("mkfifo", { args: [`${path}.in`, `${path}.out`] }).outputSync();
  assertEquals(made.success, true);
  const chardev = await bench.create({ backend: "pipe", path });
  const recorder = record(chardev);
  using toGuest = openFile(`${path}.in`, OpenFlags.writeOnly);
  using fromGuest = openFile(`${path}.out`, OpenFlags.readOnly | OpenFlags.nonBlocking);
  write(toGuest.fd, bytesOf("hello"));
  await until(() => recorder.text === "hello");
  chardev.write(bytesOf("world"));
  const buffer = new Uint8Array(16);
  assertEquals(read(fromGuest.fd, buffer), 5);
});

Deno.test("fd uses an inherited descriptor; the end of its input closes it", async () => {
  await using bench = new Bench();
  const [ours, theirs] = socketPair();
  const chardev = await bench.create({ backend: "fd", fd: String(theirs.release()) });
  const recorder = record(chardev);
  write(ours.fd, bytesOf("input"));
  await until(() => recorder.text === "input");
  chardev.write(bytesOf("output"));
  const buffer = new Uint8Array(16);
  await until(() => read(ours.fd, buffer) === 6);
  ours[Symbol.dispose]();
  await until(() => recorder.events.includes("closed"));
  assertEquals(recorder.events, ["opened", "closed"]);
});

Deno.test("a full pipe takes less; onWritable comes once it takes more; nothing is lost", async () => {
  await using bench = new Bench();
  const [reader, writer] = createPipe(OpenFlags.nonBlocking);
  using input = reader;
  const chardev = await bench.create({ backend: "fd", fd: String(writer.release()) });
  const all = Uint8Array.from({ length: 300_000 }, (_, i) => i * 7);
  let sent = 0;
  const send = () => {
    while (sent < all.length) {
      const taken = chardev.write(all.slice(sent, sent + 10_000), send);
      sent += taken;
      if (taken < 10_000 && sent < all.length) return;
    }
  };
  send();
  assertEquals(sent < all.length, true);
  const received: number[] = [];
  const buffer = new Uint8Array(65536);
  await until(() => {
    const count = read(input.fd, buffer) ?? 0;
    received.push(...buffer.subarray(0, count));
    return received.length === all.length;
  });
  assertEquals(Uint8Array.from(received), all);
});

Deno.test("pty announces its path; who opens and closes it is noticed; bytes go both ways", async () => {
  await using bench = new Bench();
  const link = bench.path("tty");
  const chardev = await bench.create({ backend: "pty", path: link });
  if (!(chardev instanceof PtyChardev)) throw new Error("not a pty");
  assertEquals(bench.reported, [`char device redirected to ${chardev.path} (label test)`]);
  assertEquals(Deno.readLinkSync(link), chardev.path);
  const recorder = record(chardev);
  assertEquals(chardev.write(bytesOf("nobody hears this")), 17);
  assertEquals(recorder.events, []);
  for (let round = 0; round < 2; round++) {
    const noControllingTerminal = 0o400;
    using terminal = openFile(
      link,
      OpenFlags.readWrite | OpenFlags.nonBlocking | noControllingTerminal,
    );
    assertEquals(chardev.write(bytesOf(`out${round}`)), 4);
    assertEquals(recorder.events.at(-1), "opened");
    const buffer = new Uint8Array(16);
    await until(() => read(terminal.fd, buffer) === 4);
    write(terminal.fd, bytesOf(`in${round};`));
    await until(() => recorder.text.endsWith(`in${round};`));
    terminal[Symbol.dispose]();
    await until(() => recorder.events.at(-1) === "closed");
  }
  assertEquals(recorder.text, "in0;in1;");
});

Deno.test("a pty whose descriptor was handed on keeps its terminal and the unread bytes", async () => {
  await using bench = new Bench();
  const first = await bench.create({ id: "p", backend: "pty", cpr: "on" });
  if (!(first instanceof PtyChardev)) throw new Error("not a pty");
  using terminal = openFile(first.path, OpenFlags.readWrite | OpenFlags.nonBlocking | 0o400);
  write(terminal.fd, bytesOf("typed before"));
  await using successor = new Bench({ takesOver: true });
  handOver(bench, successor);
  const second = await successor.create({ id: "p", backend: "pty", cpr: "on" });
  const recorder = record(second);
  goOn(bench, successor);
  await until(() => recorder.text === "typed before");
  second.write(bytesOf("answer"));
  const buffer = new Uint8Array(16);
  await until(() => read(terminal.fd, buffer) === 6);
});

Deno.test("a terminal's link goes on: with its pty, or to the successor's", async () => {
  for (const cpr of ["on", "off"]) {
    await using bench = new Bench();
    const path = bench.path("link");
    const properties = { id: "p", backend: "pty", path, cpr };
    const first = await bench.create(properties);
    await using successor = new Bench({ takesOver: true });
    handOver(bench, successor);
    const second = await successor.create(properties);
    goOn(bench, successor);
    if (!(first instanceof PtyChardev && second instanceof PtyChardev)) throw new Error("no pty");
    assertEquals(Deno.readLinkSync(path), second.path);
    assertEquals(first.path === second.path, cpr === "on");
  }
});

Deno.test("files and logs go on where they stopped; input files are not read twice", async () => {
  await using bench = new Bench();
  const path = bench.path("output");
  const input = bench.path("input");
  const logfile = bench.path("log");
  Deno.writeTextFileSync(input, "abcdef");
  const properties = { backend: "file", path, "input-path": input, logfile, cpr: "on" };
  const first = await bench.create(properties);
  const before = new Recorder();
  before.capacity = 3;
  first.attach(before);
  first.write(bytesOf("one "));
  await until(() => before.text === "abc");
  await using successor = new Bench({ takesOver: true });
  handOver(bench, successor);
  const second = await successor.create(properties);
  const after = record(second);
  goOn(bench, successor);
  second.write(bytesOf("two"));
  await until(() => after.text === "def");
  assertEquals(Deno.readTextFileSync(path), "one two");
  assertEquals(Deno.readTextFileSync(logfile), "one two");
});

Deno.test("a ring buffer's content goes on", async () => {
  await using bench = new Bench();
  const properties = { backend: "ringbuf", size: "8", cpr: "on" };
  const first = await bench.create(properties);
  first.write(Uint8Array.from([1, 2, 3, 250, 251, 252, 253, 254, 255, 0]));
  await using successor = new Bench({ takesOver: true });
  const second = await successor.create(properties);
  goOn(bench, successor);
  if (!(second instanceof RingbufChardev)) throw new Error("no ring buffer");
  assertEquals(second.read(20), Uint8Array.from([3, 250, 251, 252, 253, 254, 255, 0]));
});

Deno.test("a device has one frontend; one in use is not removed", async () => {
  await using bench = new Bench();
  const chardev = await bench.create({ backend: "null" });
  const port = bench.chardevs.port("test");
  record(port);
  assertThrows(() => record(chardev), ChardevError, "chardev 'test' is already in use");
  assertThrows(() => bench.chardevs.remove("test"), ChardevError, "Chardev 'test' is busy");
  port.detach();
  bench.chardevs.remove("test");
  assertThrows(() => bench.chardevs.remove("test"), ChardevError, "Chardev 'test' not found");
  assertThrows(() => bench.chardevs.port("test"), ChardevError, 'chardev "test" not found');
});

Deno.test("an id is given once", async () => {
  await using bench = new Bench();
  await bench.create({ backend: "null" });
  const path = bench.path("untouched");
  await assertRejects(
    () => bench.create({ backend: "file", path }),
    ChardevError,
    "Chardev with id 'test' already exists",
  );
  assertThrows(() => Deno.statSync(path), Deno.errors.NotFound);
});

Deno.test("chardev-change puts another device under the frontend", async () => {
  await using bench = new Bench();
  await bench.create({ backend: "null" });
  const port = bench.chardevs.port("test");
  const recorder = record(port);
  const path = bench.path("out");
  await bench.chardevs.change({
    id: "test",
    backend: { kind: "file", path, append: false },
    logappend: false,
    mux: false,
    cpr: false,
  });
  port.write(bytesOf("to the file"));
  assertEquals(Deno.readTextFileSync(path), "to the file");
  assertEquals(recorder.events, ["opened"]);
  assertEquals(bench.chardevs.list(), [{ label: "test", filename: "file", frontendOpen: true }]);
});

Deno.test("registries close every descriptor they opened", async () => {
  const before = openDescriptors();
  {
    await using bench = new Bench();
    await bench.create({ id: "a", backend: "pty", mux: "on", logfile: bench.path("log") });
    await bench.create({ id: "b", backend: "file", path: bench.path("b") });
    await bench.create({
      id: "c",
      backend: "socket",
      path: bench.path("c"),
      server: "on",
      wait: "off",
    });
    await bench.create({ id: "d", backend: "socket", path: bench.path("c") });
    assertEquals(openDescriptors() > before + 5, true);
  }
  assertEquals(openDescriptors(), before);
});
