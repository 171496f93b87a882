/**
 * C programs that drive the C library's entry points from several threads, without the runtime, under
 * ThreadSanitizer. What each does is said at its top. They are in C because the sanitizer has to know every
 * thread from its beginning, and Deno's were started without it.
 */
import { assertEquals } from "@std/assert";
import { thorough } from "../support/thorough.ts";

const root = new URL("../../", import.meta.url).pathname;
const programs = [...Deno.readDirSync(`${root}test/sanitized`)]
  .map(({ name }) => name.match(/^(\w+)\.c$/)?.[1])
  .filter((name) => name !== undefined)
  .sort();

async function run(program: string, ...args: readonly string[]) {
  const { code, stdout, stderr } = await new Deno.Command(program, { args: [...args] }).output();
  const decoder = new TextDecoder();
  return { code, said: decoder.decode(stdout) + decoder.decode(stderr) };
}

const built = run("sh", `${root}test/sanitized/build.sh`);

/** Whether a program needs /dev/kvm. */
function needsKvm(name: string): boolean {
  return Deno.readTextFileSync(`${root}test/sanitized/${name}.c`).includes("kvm_guest.h");
}

for (const name of programs) {
  const where = needsKvm(name) ? "with KVM" : "without KVM";
  Deno.test(`${name}, ${where}: right, and no data race`, async () => {
    const { code, said } = await built;
    assertEquals(code, 0, said);
    const program = `${root}build/sanitized/thread/${name}`;
    // The sanitizer's memory must not be where the kernel puts the program at random.
    const outcome = await run("setarch", "-R", program, ...(thorough ? ["5000"] : []));
    assertEquals(outcome.code, 0, outcome.said);
  });
}
