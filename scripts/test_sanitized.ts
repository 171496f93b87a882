/**
 * deno task test:sanitized: tests of the C library with GCC's sanitizers, which are built into libraries
 * of their own, beside build/libmolt.so.
 *
 *   AddressSanitizer, UndefinedBehaviorSanitizer: unit and fuzz tests in Deno
 *   ThreadSanitizer: C programs, because it has to know all threads (test/sanitized)
 *
 * `--quick` leaves out the unit tests that hardly use the library, and most fuzz cases. `--host` leaves out
 * what needs /dev/kvm.
 */

const root = new URL("../", import.meta.url).pathname;
const quick = Deno.args.includes("--quick");
const host = Deno.args.includes("--host");

/** What uses the library most, of the tests in Deno. */
const quickTests = [
  "test/fuzz",
  "test/unit/native",
  "test/unit/migration/ram",
  "test/unit/migration/stream",
  ...["blk", "net", "serial", "rng_balloon"].map((name) =>
    `test/unit/devices/virtio/${name}_test.ts`
  ),
];

const sanitizers = ["asan", "ubsan", "tsan"] as const;
type Sanitizer = (typeof sanitizers)[number];

interface Environment {
  readonly [name: string]: string;
}

/** Runs a command of the project; its output is the caller's. True: it succeeded. */
async function succeeds(command: readonly string[], env: Environment = {}): Promise<boolean> {
  const [program = "", ...args] = command;
  const { success } = await new Deno.Command(program, {
    ...{ args, env, cwd: root, stdin: "null" as const },
    ...{ stdout: "inherit" as const, stderr: "inherit" as const },
  }).spawn().status;
  return success;
}

async function run(command: readonly string[], env: Environment = {}): Promise<void> {
  if (!await succeeds(command, env)) throw new Error(`'${command.join(" ")}' failed`);
}

async function compilerSays(question: string): Promise<string> {
  const { stdout } = await new Deno.Command("cc", { args: [question], stderr: "inherit" }).output();
  return new TextDecoder().decode(stdout).trim();
}

/** The compiler's runtime library of a sanitizer; `undefined`: it is not installed. */
async function libraryOf(sanitizer: Sanitizer): Promise<string | undefined> {
  // It prints the bare name of a file that it does not find.
  const path = await compilerSays(`-print-file-name=lib${sanitizer}.so`);
  return path.startsWith("/") ? path : undefined;
}

/** Installs what the compiler lacks, from Debian's package of its own libraries. */
async function installSanitizers(): Promise<void> {
  const found = await Promise.all(sanitizers.map(libraryOf));
  if (!found.includes(undefined)) return;
  const release = (await compilerSays("-dumpversion")).split(".")[0];
  const name = `libgcc-${release}-dev`;
  if (Deno.uid() !== 0) throw new Error(`a sanitizer is missing: install ${name} as root`);
  await run(["apt-get", "update", "-qq"]);
  await run(["apt-get", "install", "-qq", "--no-install-recommends", name]);
}

/** Tests in Deno with the library that checks addresses. */
async function testAddresses(): Promise<boolean> {
  const library = `${root}build/sanitized/address/libmolt.so`;
  await run(["sh", "ffi/build.sh", library], {
    CFLAGS: "-O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all",
  });
  const preload = [await libraryOf("asan"), await libraryOf("ubsan")].join(" ");
  const tests = quick ? quickTests : ["test/fuzz", "test/unit", "test/golden"];
  const left = host ? ["--ignore=test/unit/kvm/lapic_test.ts,test/unit/kvm/tsc_test.ts"] : [];
  return await succeeds([Deno.execPath(), "test", "-A", "--quiet", ...left, ...tests], {
    MOLT_LIBRARY: library,
    LD_PRELOAD: preload,
    // V8 leaves its memory to the end of the process, and means some of its faults.
    ASAN_OPTIONS: "detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_sigill=0",
    UBSAN_OPTIONS: "print_stacktrace=1",
    ...(quick && Deno.env.get("MOLT_FUZZ_CASES") === undefined ? { MOLT_FUZZ_CASES: "50" } : {}),
  });
}

await installSanitizers();
// While the first tests run: one processor compiles, the other tests.
const programs = succeeds(["sh", "test/sanitized/build.sh"]);
const results = [
  await testAddresses(),
  await programs,
  await succeeds([
    ...[Deno.execPath(), "test", "-A", "--quiet", "test/sanitized"],
    ...(host ? ["--filter=without KVM"] : []),
  ]),
];
Deno.exit(results.includes(false) ? 1 : 0);
