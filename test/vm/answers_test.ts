/** Monitors answer whatever the machine is busy with. */
import { assertEquals, assertLess } from "@std/assert";
import { awaitMigration, type QmpClient } from "../../src/qmp_client/mod.ts";
import { patience } from "../support/patience.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

/** Bytes of RAM that are not zero. */
const CONTENT = 96 << 20;
const MEBIBYTES = 128;

function machine(memory: string): string[] {
  return [
    ...["-machine", "microvm,acpi=off,memory-backend=ram0", "-accel", "kvm", "-cpu", "host"],
    ...["-m", `${MEBIBYTES}M`, "-nodefaults", "-display", "none", "-S"],
    "-object",
    `memory-backend-file,id=ram0,size=${MEBIBYTES}M,mem-path=${memory},share=on`,
  ];
}

/** A file that guest memory lies in, with content from the second MiB on. */
function memoryFile(path: string, content: number): string {
  using file = Deno.openSync(path, { create: true, write: true });
  file.truncateSync(MEBIBYTES << 20);
  file.seekSync(1 << 20, Deno.SeekMode.Start);
  const piece = new Uint8Array(1 << 20).fill(0x5a);
  for (let done = 0; done < content;) done += file.writeSync(piece);
  return path;
}

/** Asks again and again until the migration has ended: how often, and the longest time of an answer. */
async function askMeanwhile(qmp: QmpClient) {
  const signal = patience();
  let longest = 0;
  for (let answers = 0;; answers++) {
    signal.throwIfAborted();
    const asked = performance.now();
    const { status } = await qmp.execute("query-migrate");
    longest = Math.max(longest, performance.now() - asked);
    if (status === "completed" || status === "failed") return { status, answers, longest };
  }
}

/** Byte offset of the first word in which two files of one size differ. */
function firstDifference(one: string, other: string): number | undefined {
  const [a, b] = [one, other].map((path) => new Uint32Array(Deno.readFileSync(path).buffer));
  if (a === undefined || b === undefined || a.length !== b.length) return 0;
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) return 4 * i;
  }
  return undefined;
}

Deno.test("QMP answers while a stream is read from a file", async () => {
  using directory = new TemporaryDirectory();
  const stream = directory.file("stream");
  {
    const source = memoryFile(directory.file("source"), CONTENT);
    await using vm = await VirtualMachine.start("molt", machine(source), {
      directory,
      name: "source",
    });
    await vm.qmp.execute("migrate-set-parameters", { "max-bandwidth": 0 });
    await vm.qmp.execute("migrate", { uri: `file:${stream}` });
    await awaitMigration(vm.qmp, { signal: patience() });
    await vm.quit();
  }
  const loaded = memoryFile(directory.file("destination"), 0);
  await using vm = await VirtualMachine.start(
    "molt",
    [...machine(loaded), "-incoming", "defer"],
    { directory, name: "destination" },
  );
  const began = performance.now();
  await vm.qmp.execute("migrate-incoming", { uri: `file:${stream}` });
  const { status, answers, longest } = await askMeanwhile(vm.qmp);
  const took = performance.now() - began;
  assertEquals(status, "completed");
  // A monitor that only answers when everything is loaded answers once, after all of that time.
  assertLess(
    longest,
    took / 2,
    `${answers} answers in ${took} ms, the longest after ${longest} ms`,
  );
  assertEquals(firstDifference(directory.file("source"), directory.file("destination")), undefined);
  await vm.quit();
});
