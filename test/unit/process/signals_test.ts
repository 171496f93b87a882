import { assertEquals } from "@std/assert";

const program = new URL("signals_program.ts", import.meta.url).pathname;

/** What the program prints with `free` descriptors left of few. */
async function listen(free: number): Promise<string> {
  const { stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", `ulimit -n 64; exec "$0" run -A "$1" ${free}`, Deno.execPath(), program],
    env: { DENO_NO_UPDATE_CHECK: "1" },
  }).output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

Deno.test("without descriptors there is an error, where the runtime would end the process", async () => {
  for (const free of [0, 1, 2, 3]) {
    assertEquals(await listen(free), "Could not listen for signals: Too many open files\n");
  }
  assertEquals(await listen(4), "done\n");
});
