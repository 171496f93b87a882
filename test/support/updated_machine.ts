/** A machine with a guest under load, whose program is replaced by cpr-exec. */
import { assert, assertEquals } from "@std/assert";
import { awaitMigration } from "../../src/qmp_client/mod.ts";
import { HeartbeatLog } from "./heartbeat_log.ts";
import { heartbeatMachine } from "./heartbeat_machine.ts";
import { patience } from "./patience.ts";
import { TemporaryDirectory } from "./temporary_directory.ts";
import { VirtualMachine } from "./virtual_machine.ts";

/** A machine with a guest under load that can be updated. */
export class UpdatedMachine implements AsyncDisposable {
  readonly directory: TemporaryDirectory;
  readonly log: HeartbeatLog;
  readonly vm: VirtualMachine;

  private constructor(directory: TemporaryDirectory, log: HeartbeatLog, vm: VirtualMachine) {
    this.directory = directory;
    this.log = log;
    this.vm = vm;
  }

  /** `more` gives further options; `cpus` and `append` are the guest's processors and command line. */
  static async start(
    more: (dependencies: { directory: TemporaryDirectory }) => string[] = () => [],
    guest: { readonly append?: string; readonly cpus?: number } = {},
  ): Promise<UpdatedMachine> {
    const directory = new TemporaryDirectory();
    const log = new HeartbeatLog(directory.file("serial"));
    const options = [
      ...heartbeatMachine(log, { shared: "memfd", ...guest }),
      ...more({ directory }),
    ];
    const vm = await VirtualMachine.start("molt", options, { directory });
    await log.beats(2);
    return new UpdatedMachine(directory, log, vm);
  }

  /** Has the process execute `command`, which ends this connection to its monitor. */
  async execute(command: readonly string[], uri?: string): Promise<void> {
    const { qmp } = this.vm;
    await qmp.execute("migrate-set-parameters", {
      "mode": "cpr-exec",
      "cpr-exec-command": [...command],
    });
    await qmp.execute("migrate", uri === undefined ? {} : { uri });
  }

  /** An update that must succeed. Returns which one since the guest started it was. */
  async update(command = this.vm.command, uri?: string): Promise<number> {
    await this.execute(command, uri);
    await this.vm.qmp.closed;
    await this.vm.connect();
    await this.checkRunning();
    const { generation, pid } = await this.vm.qmp.execute("x-query-update");
    assertEquals(pid, this.vm.pid, "the process is the same");
    return generation;
  }

  /** An update that must fail here. Returns the reason that is given. */
  async failedUpdate(command: readonly string[], uri?: string): Promise<string> {
    await this.execute(command, uri);
    const error = await awaitMigration(this.vm.qmp, { signal: patience() }).then(
      () => undefined,
      (error) => error,
    );
    assert(error instanceof Error, "the migration failed");
    await this.checkRunning();
    return error.message;
  }

  async checkRunning(): Promise<void> {
    while ((await this.vm.qmp.execute("query-status")).status === "inmigrate") {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assertEquals((await this.vm.qmp.execute("query-status")).status, "running");
    await this.log.beats(1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vm[Symbol.asyncDispose]();
    this.log[Symbol.dispose]();
    this.directory[Symbol.dispose]();
  }
}
