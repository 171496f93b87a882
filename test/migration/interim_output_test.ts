/**
 * What a guest prints while its interim monitor has it, and after that has become its monitor for good, is
 * added to the files that were there.
 */
import { assertEquals, assertNotEquals } from "@std/assert";
import { QmpClient } from "../../src/qmp_client/mod.ts";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { patience } from "../support/patience.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

const devices: Readonly<Record<string, (directory: TemporaryDirectory, log: string) => string>> = {
  "a file that was emptied at the start": (_, log) => `file,path=${log}`,
  "the log of a device that goes nowhere": (_, log) => `null,logfile=${log}`,
  "the log of a socket without a client": (directory, log) =>
    `socket,path=${directory.file("console")},server=on,wait=off,logfile=${log}`,
  "the log of a socket that survives, without a client": (directory, log) =>
    `socket,path=${directory.file("console")},server=on,wait=off,cpr=on,logfile=${log}`,
};

for (const [name, device] of Object.entries(devices)) {
  Deno.test(`a successor that ends at once: ${name} has all that the guest printed`, async () => {
    using directory = new TemporaryDirectory();
    using log = new HeartbeatLog(directory.file("serial"));
    const [kind, ...properties] = device(directory, log.path).split(",");
    const chardev = [kind, "id=serial0", ...properties].join(",");
    const options = heartbeatMachine(
      { options: ["-chardev", chardev, "-serial", "chardev:serial0"] },
      { shared: "memfd", append: "memory=16 rate=100 period=10" },
    );
    await using vm = await VirtualMachine.start("molt", options, { directory, connect: false });
    await log.beats(5);
    // Each time the guest goes from a process to its interim monitor, which is its process from then on.
    for (let time = 1; time <= 2; time++) {
      log.place = `failed update ${time}`;
      const pid = await failedUpdate(vm.socket);
      const signal = patience();
      await using client = await QmpClient.connect(vm.socket, { wait: true, signal });
      assertNotEquals((await client.execute("x-query-update")).pid, pid);
      await log.beats(5);
    }
    assertEquals(log.check.last?.number, log.check.beats, "beats from the first one on");
  });
}

/** Has the process execute what never becomes a machine. Returns its number. */
async function failedUpdate(socket: string): Promise<number> {
  await using client = await QmpClient.connect(socket, { wait: true, signal: patience() });
  const { pid } = await client.execute("x-query-update");
  await client.execute("migrate-set-parameters", {
    "mode": "cpr-exec",
    "cpr-exec-command": ["sh", "-c", "sleep 0.3; exit 1"],
  });
  await client.execute("migrate");
  await client.closed;
  return pid;
}
