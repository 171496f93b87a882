import { assert, assertEquals } from "@std/assert";
import { type MonitorOptions } from "../../../../src/monitor/monitors.ts";
import { Readline } from "../../../../src/monitor/hmp/readline.ts";
import { socketPair } from "../../../../src/native/socket.ts";
import { bytesOf } from "../../backends/bench.ts";
import { Client, MonitorBench } from "../bench.ts";

const readline: MonitorOptions = { mode: "readline", pretty: false };

/** What a terminal of one line shows after `output`: cursor keys and "clear to the end" applied. */
function screen(output: string): string {
  const lines: string[] = [];
  let line = "";
  let column = 0;
  // deno-lint-ignore no-control-regex
  for (const [token] of output.matchAll(/\x1b\[[A-Z]|\r\n|./gs)) {
    if (token === "\r\n") {
      lines.push(line);
      line = "";
      column = 0;
    } else if (token === "\x1b[D") {
      column--;
    } else if (token === "\x1b[C") {
      column++;
    } else if (token === "\x1b[K") {
      line = line.slice(0, column);
    } else {
      line = line.slice(0, column) + token + line.slice(column + 1);
      column++;
    }
  }
  return [...lines, line].join("\n");
}

/** A line editor, what it shows and the lines that were finished. */
function edit(typed: string): { shown: string; lines: string[] } {
  let output = "";
  const lines: string[] = [];
  const editor: Readline = new Readline("> ", {
    print: (text) => output += text.replaceAll("\n", "\r\n"),
    line: (text) => {
      lines.push(text);
      editor.start();
    },
    complete: (text) => ["stop", "status", "step"].filter((word) => word.startsWith(text)),
  });
  editor.start();
  for (const character of typed) editor.type(character);
  return { shown: screen(output), lines };
}

Deno.test("keys edit the line, and the screen shows it", () => {
  const up = "\x1b[A";
  const left = "\x1b[D";
  const cases: [typed: string, shown: string, lines: string[]][] = [
    ["abc", "> abc", []],
    ["abc\r", "> abc\n> ", ["abc"]],
    ["abc\r\n", "> abc\n> ", ["abc"]],
    ["abc\ndef", "> abc\n> def", ["abc"]],
    ["abc\x7f\x08d", "> ad", []],
    ["\x7f\x08x", "> x", []],
    [`abc${left}${left}X`, "> aXbc", []],
    [`abc${left}\x7f`, "> ac", []],
    [`abc${left}${left}\x04`, "> ac", []],
    ["abc\x01X\x05Y", "> XabcY", []],
    ["abc\x1b[1~X\x1b[4~Y\x1b[HZ\x1b[F!", "> ZXabcY!", []],
    [`abcdef${left}${left}\x0b`, "> abcd", []],
    [`abcdef${left}${left}\x15`, "> ef", []],
    ["one two  \x17", "> one ", []],
    ["abc\x03", "> abc", []],
    [`one\rtwo\r${up}`, "> one\n> two\n> two", ["one", "two"]],
    [`one\rtwo\r${up}${up}${up}`, "> one\n> two\n> one", ["one", "two"]],
    [`one\rtwo\r${up}${up}\x1b[B`, "> one\n> two\n> two", ["one", "two"]],
    [`one\rnew${up}\x1b[B`, "> one\n> new", ["one"]],
    [`one\r${up}!\r`, "> one\n> one!\n> ", ["one", "one!"]],
    ["sto\t", "> stop ", []],
    ["st\t", "> st\nstop    status  step\n> st", []],
    ["x\t", "> x", []],
    ["a\x1b[99;5qb", "> ab", []],
    ["é\r", "> é\n> ", ["é"]],
  ];
  for (const [typed, shown, lines] of cases) {
    assertEquals(edit(typed), { shown, lines }, JSON.stringify(typed));
  }
});

Deno.test("a line has a limit, and random keys never break the editor", () => {
  assertEquals(edit("x".repeat(5000) + "\r").lines[0]?.length, 4095);
  const seed = Number(Deno.env.get("SEED") ?? Date.now() & 0xffff);
  let state = seed;
  const keys = ["a", " ", "\x1b", "[", "A", "B", "C", "D", "3", "~", "\x7f", "\t", "\r", "\x01"];
  for (let round = 0; round < 300; round++) {
    let typed = "";
    for (let i = 0; i < 40; i++) {
      state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
      typed += keys[(state >>> 8) % keys.length];
    }
    const { shown, lines } = edit(`${typed}\x1b[~\rlast\r`);
    assert(shown.endsWith("\n> "), `seed ${seed}`);
    assertEquals(lines.at(-1), "last", `seed ${seed}`);
  }
});

Deno.test("a user is greeted with banner and prompt, types a line and sees what it prints", async () => {
  await using bench = new MonitorBench();
  using user = await bench.connect(await bench.listen(readline));
  assertEquals(
    await user.expect(/\(qemu\) /),
    "QEMU 11.1.3 monitor - type 'help' for more information\r\n(qemu) ",
  );
  user.send("info status\n");
  assertEquals(
    await user.expect(/\(qemu\) /),
    "info status\r\nVM status: running\r\n(qemu) ",
  );
  user.send("\n");
  assertEquals(await user.expect(/\(qemu\) /), "\r\n(qemu) ");
});

Deno.test("lines in one packet run one after the other", async () => {
  await using bench = new MonitorBench();
  using user = await bench.connect(await bench.listen(readline));
  await user.expect(/\(qemu\) /);
  user.send("stop\ninfo status\ncont\ninfo status\n");
  assertEquals(
    await user.expect(/running\r\n\(qemu\) /),
    "stop\r\n(qemu) info status\r\nVM status: paused\r\n(qemu) " +
      "cont\r\n(qemu) info status\r\nVM status: running\r\n(qemu) ",
  );
});

Deno.test("Tab completes commands and their subcommands", async () => {
  await using bench = new MonitorBench();
  using user = await bench.connect(await bench.listen(readline));
  await user.expect(/\(qemu\) /);
  user.send("in\t");
  await user.expect(/info /);
  user.send("stat\t\n");
  assertEquals(screen(await user.expect(/\(qemu\) /)), "status \nVM status: running\n(qemu) ");
});

Deno.test("a user who leaves while a command runs leaves the monitor to the next", async () => {
  await using bench = new MonitorBench();
  const path = await bench.listen(readline);
  const waiting = bench.path("waiting");
  {
    using user = await bench.connect(path);
    await user.expect(/\(qemu\) /);
    user.send(`chardev-add socket,id=w,path=${waiting},server=on\n`);
    await user.expect(/\r\n/);
  }
  using peer = await bench.connect(waiting);
  using next = await bench.connect(path);
  assertEquals(
    await next.expect(/\(qemu\) /),
    "QEMU 11.1.3 monitor - type 'help' for more information\r\n(qemu) ",
  );
  next.send("info name\n");
  assertEquals(await next.expect(/\(qemu\) /), "info name\r\nbench\r\n(qemu) ");
  assert(peer.fd > 0);
});

Deno.test("on a multiplexed terminal the monitor speaks when it has the focus", async () => {
  await using bench = new MonitorBench({ started: false });
  const [ours, theirs] = socketPair();
  using terminal = new Client(ours);
  await bench.create({ id: "t", backend: "socket", fd: String(theirs.release()), mux: "on" });
  const port = bench.chardevs.port("t");
  let console = "";
  port.attach({
    canReceive: () => 100,
    receive: (bytes) => console += new TextDecoder().decode(bytes),
    event: () => {},
  });
  bench.monitors.add(bench.chardevs.port("t"), readline);
  bench.chardevs.start();
  port.write(bytesOf("boot\r\n"));
  terminal.send("login\x01c");
  const shown = await terminal.expect(/\(qemu\) /);
  assertEquals(
    shown,
    "boot\r\nQEMU 11.1.3 monitor - type 'help' for more information\r\n(qemu) ",
  );
  terminal.send("info name\n");
  assertEquals(await terminal.expect(/\(qemu\) /), "info name\r\nbench\r\n(qemu) ");
  terminal.send("\x01cmore\x01c");
  assertEquals(await terminal.expect(/\(qemu\) /), "(qemu) ");
  assertEquals(console, "loginmore");
});
