import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { ChardevError } from "../../../src/backends/chardev.ts";
import { socketPair } from "../../../src/native/socket.ts";
import { read, write } from "../../../src/native/file.ts";
import { Bench, bytesOf, record, until } from "./bench.ts";

const decoder = new TextDecoder();

/** A multiplexer over a socket: what is typed, and what is shown. */
async function multiplexed(bench: Bench) {
  const [terminal, theirs] = socketPair();
  await bench.create({ backend: "socket", fd: String(theirs.release()), mux: "on" });
  const screen = { text: "" };
  const buffer = new Uint8Array(4096);
  return {
    terminal,
    type: (text: string) => void write(terminal.fd, bytesOf(text)),
    shows: (pattern: RegExp) =>
      until(() => {
        const count = read(terminal.fd, buffer) ?? 0;
        screen.text += decoder.decode(buffer.subarray(0, count));
        return pattern.test(screen.text);
      }),
    screen,
  };
}

Deno.test("input goes to the frontend in focus, output of all is shown", async () => {
  await using bench = new Bench();
  const { terminal, type, shows, screen } = await multiplexed(bench);
  using _terminal = terminal;
  const consolePort = bench.chardevs.port("test");
  const console = record(consolePort);
  const monitorPort = bench.chardevs.port("test");
  const monitor = record(monitorPort);
  assertEquals(console.events, ["opened", "mux-in"]);
  assertEquals(monitor.events, ["opened", "mux-out"]);
  type("one\x01ctwo\x01cthree");
  await until(() => console.text === "onethree");
  assertEquals(monitor.text, "two");
  monitorPort.write(bytesOf("from the monitor,"));
  consolePort.write(bytesOf("from the console"));
  await shows(/from the monitor,from the console/);
  assertEquals(screen.text, "from the monitor,from the console");
  assertEquals(bench.chardevs.list(), [
    {
      label: "test-base",
      filename: bench.chardevs.find("test-base")?.filename ?? "",
      frontendOpen: true,
    },
    { label: "test", filename: "mux", frontendOpen: true },
  ]);
});

Deno.test("Ctrl-a commands: help, quit, commit, break, Ctrl-a itself; unknown keys do nothing", async () => {
  await using bench = new Bench();
  const { terminal, type, shows } = await multiplexed(bench);
  using _terminal = terminal;
  const frontend = record(bench.chardevs.port("test"));
  type("\x01h");
  await shows(/C-a h .*\n\rC-a x .*\n\rC-a s .*\n\rC-a t .*\n\rC-a b .*\n\rC-a c .*\n\rC-a C-a /);
  type("\x01s\x01b\x01\x01\x01zend");
  await until(() => frontend.text === "\x01end");
  assertEquals(frontend.events, ["opened", "mux-in", "break"]);
  assertEquals(bench.quits, ["commit"]);
  type("\x01x");
  await shows(/QEMU: Terminated\n\r$/);
  assertEquals(bench.quits, ["commit", "quit"]);
});

Deno.test("Ctrl-a t stamps the lines of output with the time", async () => {
  await using bench = new Bench();
  const { terminal, type, shows, screen } = await multiplexed(bench);
  using _terminal = terminal;
  const port = bench.chardevs.port("test");
  const frontend = record(port);
  type("\x01t.");
  await until(() => frontend.text === ".");
  port.write(bytesOf("first\nsec"));
  port.write(bytesOf("ond\nthird"));
  type("\x01t.");
  await until(() => frontend.text === "..");
  port.write(bytesOf("\nfourth\n"));
  await shows(/fourth\n/);
  const stamp = "\\[00:00:\\d\\d\\.\\d{3}\\] ";
  assertMatch(
    screen.text,
    new RegExp(`^${stamp}first\n${stamp}second\n${stamp}third\nfourth\n$`),
  );
});

Deno.test("a frontend that takes no input gets it later, and commands still work meanwhile", async () => {
  await using bench = new Bench();
  const { terminal, type } = await multiplexed(bench);
  using _terminal = terminal;
  const port = bench.chardevs.port("test");
  const frontend = record(port);
  frontend.capacity = 0;
  type("typed ahead\x01b");
  await until(() => frontend.events.includes("break"));
  assertEquals(frontend.text, "");
  frontend.capacity = 5;
  port.acceptInput();
  assertEquals(frontend.text, "typed");
  frontend.capacity = Infinity;
  port.acceptInput();
  assertEquals(frontend.text, "typed ahead");
});

Deno.test("when the frontend in focus leaves, another has it; the terminal's end reaches all", async () => {
  await using bench = new Bench();
  const { terminal, type } = await multiplexed(bench);
  const port = bench.chardevs.port("test");
  record(port);
  const other = record(bench.chardevs.port("test"));
  port.detach();
  type("to the other");
  await until(() => other.text === "to the other");
  terminal[Symbol.dispose]();
  await until(() => other.events.includes("closed"));
  assertEquals(other.events, ["opened", "mux-out", "mux-in", "closed"]);
});

Deno.test("multiplexers are neither removed nor made over a device in use", async () => {
  await using bench = new Bench();
  await bench.create({ id: "m", backend: "null", mux: "on" });
  assertThrows(() => bench.chardevs.remove("m"), ChardevError, "Chardev 'm' is busy");
  assertThrows(() => bench.chardevs.remove("m-base"), ChardevError, "Chardev 'm-base' is busy");
});

Deno.test("frontends hear of the device once all of the beginning are attached", async () => {
  await using bench = new Bench({ started: false });
  const { terminal, type } = await multiplexed(bench);
  using _terminal = terminal;
  const console = record(bench.chardevs.port("test"));
  const monitor = record(bench.chardevs.port("test"));
  assertEquals(monitor.events, ["mux-out"]);
  bench.chardevs.start();
  assertEquals(monitor.events, ["mux-out", "opened"]);
  assertEquals(console.events, ["mux-in", "opened"]);
  type("typed");
  await until(() => console.text === "typed");
});
