/**
 * A table of successors that are broken in all ways, and of hosts that have no room for one. Each is asked first
 * (x-check-update), then the update is tried. Whatever it does, the guest lives, answers at its own socket, has its
 * memory right and can be updated again; and nobody who would take it has said no, nor the other way round.
 */
import { assertEquals, assertMatch } from "@std/assert";
import { QmpClient, QmpCommandError, QmpDisconnectedError } from "../../src/qmp_client/mod.ts";
import { patience } from "../support/patience.ts";
import { UpdatedMachine } from "../support/updated_machine.ts";

/** How long a successor may take here, in ms: more than one that works needs. */
const TIMEOUT_MS = 5000;

/** What a case makes its successor of. */
interface Given {
  /** The command line of the machine. */
  readonly command: readonly string[];
  /** A path in the test's folder. */
  readonly file: (name: string) => string;
}

interface BrokenSuccessor {
  readonly name: string;
  readonly command: (given: Given) => readonly string[];
  /** What the update says of it. */
  readonly error: RegExp;
  /** What is said beforehand: `unknown` of a program that is no molt, which would have to be started for good. */
  readonly check: "no" | "unknown";
}

const shell = (script: string) => ({ command }: Given) => ["sh", "-c", script, "sh", ...command];
const more = (...words: string[]) => ({ command }: Given) => [...command, ...words];

/** The command with the word after `option` changed. */
const changed = (option: string, change: (word: string) => string) => ({ command }: Given) => {
  const at = command.indexOf(option) + 1;
  return command.with(at, change(command[at] ?? ""));
};

const written = (name: string, content: string, mode: number) => ({ file }: Given) => {
  Deno.writeTextFileSync(file(name), content);
  Deno.chmodSync(file(name), mode);
  return [file(name)];
};

const anyProgram = (
  name: string,
  command: BrokenSuccessor["command"],
  error: RegExp,
): BrokenSuccessor => ({ name, command, error, check: "unknown" });

const refused = (
  name: string,
  command: BrokenSuccessor["command"],
  error: RegExp,
): BrokenSuccessor => ({ name, command, error, check: "no" });

const ENDED = /the successor ended without taking the guest over/;
const SILENT = /the successor was not ready within \d+ ms and has been ended/;

/** By class. */
const classes: Readonly<Record<string, readonly BrokenSuccessor[]>> = {
  "ends at once": [
    anyProgram("with status 0", () => ["/bin/true"], ENDED),
    anyProgram("with status 1", () => ["/bin/false"], ENDED),
    anyProgram(
      "having said why",
      shell("echo no such disk >&2; exit 3"),
      /having printed: no such disk/,
    ),
    anyProgram("by SIGSEGV", shell("kill -SEGV $$"), ENDED),
    anyProgram("by SIGKILL", shell("kill -KILL $$"), ENDED),
    anyProgram("a while later", shell("sleep 0.3; exit 1"), ENDED),
  ],
  "hangs": [
    anyProgram("asleep", () => ["sleep", "600"], SILENT),
    anyProgram("stopped", shell("kill -STOP $$"), SILENT),
    anyProgram(
      "having said something",
      shell("echo wait >&2; exec sleep 600"),
      /has been ended, having printed: wait/,
    ),
  ],
  "floods": [
    anyProgram(
      "standard error",
      shell("exec yes flood >&2"),
      /having printed: flood|was not ready/,
    ),
    anyProgram(
      "standard error, and ends",
      shell("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1"),
      ENDED,
    ),
    anyProgram("standard output, and ends", shell("head -c 1000000 /dev/zero; exit 1"), ENDED),
  ],
  "cannot be executed": [
    refused("missing", ({ file }) => [file("nothing")], /No such file or directory/),
    refused(
      "a folder that is missing",
      ({ file }) => [`${file("none")}/molt`],
      /No such file or directory/,
    ),
    refused("not executable", written("plain", "#!/bin/sh\n", 0o644), /Permission denied/),
    refused("a folder", ({ file }) => [file("")], /Permission denied/),
    anyProgram(
      "its interpreter is missing",
      written("orphan", "#!/nothing\n", 0o755),
      /No such file or directory/,
    ),
    anyProgram(
      "a damaged program",
      written("damaged", "\x7fELF\x02\x01\x01", 0o755),
      /Could not execute|ended without/,
    ),
  ],
  "command line": [
    refused("unknown option", more("-bogus"), /-bogus: invalid option/),
    refused("option without its value", more("-m"), /-m/),
    refused("value that is none", changed("-m", () => "much"), /much/),
  ],
  "other machine": [
    refused("more vCPUs", changed("-smp", () => "3"), /no section 'apic' 2/),
    refused("fewer vCPUs", changed("-smp", () => "1"), /'apic' 1/),
    refused(
      "with ACPI",
      changed("-machine", (word) => word.replace("acpi=off", "acpi=on")),
      /'pc.bios' has 65536 bytes/,
    ),
    refused("a board that there is not", changed("-machine", () => "isapc"), /isapc/),
  ],
  "memory": [
    refused("more", ({ command }) =>
      changed("-object", (word) => word.replace("64M", "128M"))({
        command: changed("-m", () => "128M")({ command, file: String }),
        file: String,
      }), /has \d+ bytes, this machine needs \d+/),
    refused(
      "by another name",
      ({ command }) => command.map((word) => word.replaceAll("ram0", "ram1")),
      /lacks 'ram1'/,
    ),
  ],
  "device list": [
    refused("one more", more("-device", "virtio-rng-device"), /virtio-(rng|mmio)/),
    refused("a disk without an image", more("-device", "virtio-blk-device,drive=none"), /drive/),
  ],
  "sockets": [
    refused(
      "in no folder",
      ({ command, file }) =>
        more("-qmp", `unix:${file("none")}/qmp,server=on,wait=off`)({ command, file }),
      /none\/qmp/,
    ),
    refused(
      "a name that is too long",
      more("-qmp", `unix:/tmp/${"x".repeat(120)},server=on,wait=off`),
      /UNIX socket path/,
    ),
  ],
  "files": [
    refused(
      "image is missing",
      ({ command, file }) =>
        more(
          "-drive",
          `if=none,id=e,file=${file("none")},format=raw`,
          "-device",
          "virtio-blk-device,drive=e",
        )({
          command,
          file,
        }),
      /none/,
    ),
    refused(
      "pid file in no folder",
      ({ command, file }) => more("-pidfile", `${file("none")}/pid`)({ command, file }),
      /none\/pid|PID file/,
    ),
    refused(
      "output in no folder",
      ({ command, file }) =>
        more("-chardev", `file,id=more,path=${file("none")}/log`)({ command, file }),
      /none\/log/,
    ),
  ],
  "descriptors": [
    anyProgram(
      "closes what it got",
      shell('for n in 3 4 5 6 7 8 9; do eval "exec $n>&-"; done; exec /bin/false'),
      ENDED,
    ),
    anyProgram("says that it is ready, and no more", () => [
      "bash",
      "-c",
      "for f in /proc/$$/fd/*; do n=${f##*/}; case $(readlink $f) in socket:*) printf '\\1' >&$n;; esac; " +
      "done 2>/dev/null; exec /bin/false",
    ], /ended|was not ready/),
    anyProgram("says something else", () => [
      "bash",
      "-c",
      "for f in /proc/$$/fd/*; do n=${f##*/}; case $(readlink $f) in socket:*) printf 'HTTP/1.1' >&$n;; esac; " +
      "done 2>/dev/null; exec /bin/false",
    ], /ended|was not ready/),
  ],
  "environment": [
    anyProgram(
      "another state",
      shell('QEMU_CPR_EXEC_STATE=/dev/null exec "$@"'),
      /QEMU_CPR_EXEC_STATE|ended/,
    ),
    anyProgram(
      "a number that is not open",
      shell('QEMU_CPR_EXEC_STATE=999 exec "$@"'),
      /QEMU_CPR_EXEC_STATE|ended/,
    ),
  ],
  "no room": [
    anyProgram("address space", shell('ulimit -v 100000; exec "$@"'), ENDED),
    anyProgram("descriptors", shell('ulimit -n 12; exec "$@"'), ENDED),
  ],
};

/** The machine by the client of now: its process may be another one after each update. */
class Subject implements AsyncDisposable {
  readonly #machine: UpdatedMachine;
  client: QmpClient;

  private constructor(machine: UpdatedMachine, client: QmpClient) {
    this.#machine = machine;
    this.client = client;
  }

  static async start(): Promise<Subject> {
    const machine = await UpdatedMachine.start();
    machine.vm.qmp[Symbol.dispose]();
    return new Subject(machine, await connect(machine));
  }

  get given(): Given {
    const { vm: { command }, directory } = this.#machine;
    return { command, file: (name) => directory.file(name) };
  }

  /** Updates it. Returns why that failed; `undefined` if it did not. */
  async update(command: readonly string[]): Promise<string | undefined> {
    await this.client.execute("migrate-set-parameters", {
      "mode": "cpr-exec",
      "cpr-exec-command": [...command],
      "x-successor-timeout": TIMEOUT_MS,
    });
    try {
      await this.client.execute("migrate");
    } catch (error) {
      if (error instanceof QmpCommandError) return error.message;
      throw error;
    }
    for (const limit = patience();; limit.throwIfAborted()) {
      try {
        const information = await this.client.execute("query-migrate");
        if (information.status === "failed") return information["error-desc"] ?? "";
        if (information.status === "completed") return undefined;
        await new Promise((resolve) => setTimeout(resolve, 20));
      } catch (error) {
        if (!(error instanceof QmpDisconnectedError)) throw error;
        this.client[Symbol.dispose]();
        this.client = await connect(this.#machine);
      }
    }
  }

  /** It runs, and what the guest prints says that its memory is right. */
  async checkAlive(): Promise<void> {
    assertEquals((await this.client.execute("query-status")).status, "running");
    await this.#machine.log.beats(2);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client[Symbol.dispose]();
    await this.#machine[Symbol.asyncDispose]();
  }
}

async function connect({ vm }: UpdatedMachine): Promise<QmpClient> {
  return await QmpClient.connect(vm.socket, { wait: true, signal: patience() });
}

for (const [name, cases] of Object.entries(classes)) {
  Deno.test(`broken successors: ${name}`, async () => {
    await using subject = await Subject.start();
    for (const { name: which, command, error, check } of cases) {
      const program = command(subject.given);
      const answer = await subject.client.execute("x-check-update", { command: [...program] });
      assertEquals(answer.result, check, `${which}: ${answer.reason}`);
      await subject.checkAlive();
      const reason = await subject.update(program);
      assertMatch(reason ?? "it took the guest", error, which);
      await subject.checkAlive();
    }
    const { command } = subject.given;
    const answer = await subject.client.execute("x-check-update", { command: [...command] });
    assertEquals(answer.result, "yes", answer.reason);
    assertEquals(await subject.update(command), undefined, "it can still be updated");
    await subject.checkAlive();
  });
}
