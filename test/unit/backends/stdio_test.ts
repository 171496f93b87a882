import { assertEquals, assertRejects } from "@std/assert";
import type { Descriptor } from "../../../src/native/descriptor.ts";
import { read, statusFlags, write } from "../../../src/native/file.ts";
import {
  childStatus,
  environment,
  type ExitStatus,
  kill,
  spawn,
} from "../../../src/native/process.ts";
import { openPseudoTerminal } from "../../../src/native/terminal.ts";
import { Bench, bytesOf, until } from "./bench.ts";

const decoder = new TextDecoder();

/** How the terminal is set, as stty's portable notation. */
function settings(path: string): string {
  const { stdout } = new Deno.Command("stty", { args: ["-F", path, "-g"] }).outputSync();
  return decoder.decode(stdout).trim();
}

/** stdio_program.ts on a terminal of its own. */
class Program {
  readonly #master: Descriptor;
  readonly #slave: Descriptor;
  readonly path: string;
  readonly original: string;
  readonly pid: number;
  screen = "";

  constructor(ending: string) {
    const { master, slave, path } = openPseudoTerminal();
    this.#master = master;
    this.#slave = slave;
    this.path = path;
    new Deno.Command("stty", { args: ["-F", path, "sane"] }).outputSync();
    this.original = settings(path);
    const program = `${import.meta.dirname}/stdio_program.ts`;
    const config = `${import.meta.dirname}/../../../deno.json`;
    const command = [Deno.execPath(), "run", "-A", "--no-check", "--config", config];
    this.pid = spawn([...command, program, ending], {
      descriptors: [[slave.fd, 0], [slave.fd, 1], [slave.fd, 2]],
      environment: [...environment(), "NO_COLOR=1"],
      session: true,
    });
  }

  type(text: string): void {
    write(this.#master.fd, bytesOf(text));
  }

  async shows(text: string): Promise<void> {
    const buffer = new Uint8Array(4096);
    await until(() => {
      const count = read(this.#master.fd, buffer) ?? 0;
      this.screen += decoder.decode(buffer.subarray(0, count));
      return this.screen.includes(text);
    });
  }

  async ended(): Promise<ExitStatus> {
    let status: ExitStatus | undefined;
    await until(() => (status = childStatus(this.pid)) !== undefined);
    return status ?? { kind: "exited", status: -1 };
  }

  /** That the slave is not left non-blocking for the programs that share it. */
  get blocking(): boolean {
    return (statusFlags(this.#slave.fd) & 0o4000) === 0;
  }

  [Symbol.dispose](): void {
    this.#master[Symbol.dispose]();
    this.#slave[Symbol.dispose]();
  }
}

const endings: [string, ExitStatus][] = [
  ["return", { kind: "exited", status: 0 }],
  ["exit", { kind: "exited", status: 3 }],
  ["throw", { kind: "exited", status: 1 }],
  ["abort", { kind: "killed", signal: 6 }],
];

for (const [ending, expected] of endings) {
  Deno.test(`the terminal is raw while stdio has it, and as before after ${ending}`, async () => {
    using program = new Program(ending);
    await program.shows("ready");
    assertEquals(settings(program.path) === program.original, false);
    assertEquals(program.blocking, true);
    program.type("a\x03b");
    await program.shows("A\x03B");
    program.type("q");
    assertEquals(await program.ended(), expected, program.screen);
    assertEquals(settings(program.path), program.original);
  });
}

Deno.test("the terminal is as before after SIGTERM, and while it is released for an execve", async () => {
  using program = new Program("release");
  await program.shows("ready");
  program.type("q");
  await program.shows("released");
  assertEquals(settings(program.path), program.original);
  kill(program.pid, 15);
  assertEquals(await program.ended(), { kind: "killed", signal: 15 });

  using other = new Program("return");
  await other.shows("ready");
  kill(other.pid, 15);
  assertEquals(await other.ended(), { kind: "killed", signal: 15 });
  assertEquals(settings(other.path), other.original);
});

Deno.test("stdio is one device's at a time", async () => {
  await using bench = new Bench();
  await bench.create({ id: "a", backend: "stdio" });
  await assertRejects(
    () => bench.create({ id: "b", backend: "stdio" }),
    Error,
    "cannot use stdio by multiple character devices",
  );
  bench.chardevs.remove("a");
  await bench.create({ id: "b", backend: "stdio" });
});
