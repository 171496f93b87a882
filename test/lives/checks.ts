/** What holds after each step of a life. */
import { assertEquals } from "@std/assert";
import { QmpClient } from "../../src/qmp_client/mod.ts";
import { patience } from "../support/patience.ts";
import { mappedMemory } from "../support/processes.ts";
import { dial } from "./dial.ts";
import type { Life } from "./life.ts";

/** Milliseconds in which a guest that runs prints something, and one that stands does not. */
const STANDING = 150;
/** Names that nothing has in the end. */
const passing = /\.(next|safe|partial)$/;

/**
 * Fails unless exactly one process has the guest, answers at its own paths with the expected state, and
 * the guest goes on, or stands, as expected with its memory and output unharmed.
 */
export async function verifyLife(life: Life): Promise<void> {
  const { pid, names } = life.machine;
  await life.until(() => life.processes.length <= 1, "one process is left").catch(() => {});
  assertEquals(life.processes, [pid], "the processes of this life: the one that has the guest");
  assertEquals(mapsMemory(pid), true, "it maps the guest's RAM");

  await using client = await QmpClient.connect(names.qmp, { wait: true, signal: patience() });
  assertEquals((await client.execute("query-status")).status, life.state);
  assertEquals((await client.execute("x-query-update")).pid, pid, "who answers at its QMP socket");
  await using other = await QmpClient.connect(names.shell, { wait: true, signal: patience() });
  assertEquals((await other.execute("query-status")).status, life.state);
  assertEquals(Deno.readTextFileSync(names.pidFile).trim(), String(pid), names.pidFile);

  using console = await dial(names.console);
  await verifyOutput(life, console);
  const left = [...Deno.readDirSync(life.path("run"))].filter(({ name }) => passing.test(name));
  assertEquals(left.map(({ name }) => name), [], "names that were to be for a while only");
}

async function verifyOutput(life: Life, console: Deno.Conn): Promise<void> {
  if (life.state === "running") {
    await life.output.beats(2);
    await readBeat(console);
    return;
  }
  const before = life.output.verify();
  await new Promise((resolve) => setTimeout(resolve, STANDING));
  assertEquals(life.output.verify(), before, "beats of a guest that is paused");
}

/** Waits until a client of the console was sent a beat. */
async function readBeat(console: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(4096);
  let text = "";
  const signal = patience();
  const giveUp = () => console.close();
  signal.addEventListener("abort", giveUp);
  try {
    while (!/^beat /m.test(text)) {
      const count = await console.read(buffer);
      if (count === null) throw new Error(`the console's connection ended after: ${text}`);
      text += new TextDecoder().decode(buffer.subarray(0, count));
    }
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
}

/** Whether a process maps the RAM of the machines here: a memfd, or a file that the options name so. */
function mapsMemory(pid: number): boolean {
  return mappedMemory(pid).length > 0 &&
    /memory-backend-memfd|\/run\/ram\.\d+/.test(Deno.readTextFileSync(`/proc/${pid}/maps`));
}
