/** Command lines as users type them: what is said, where, and with which exit status. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { awaitMigration, QmpClient, QmpCommandError } from "../../src/qmp_client/mod.ts";
import { patience } from "../support/patience.ts";
import { commandOf, guestImage } from "../support/programs.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

const machine = ["-M", "microvm", "-m", "64M", "-nodefaults", "-display", "none"];
const greeting = '{"execute":"qmp_capabilities"}\n';

interface Outcome {
  readonly status: number;
  readonly output: string;
  readonly errors: string;
}

/** Runs molt in `folder` with `input` on its terminal until it ends. */
async function run(folder: string, argv: readonly string[], input = ""): Promise<Outcome> {
  const [program = "", ...leading] = commandOf("molt");
  const child = new Deno.Command(program, {
    args: [...leading, ...argv],
    cwd: folder,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input)).catch(() => {});
  await writer.close().catch(() => {});
  const { code, stdout, stderr } = await child.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { status: code, output: text(stdout), errors: text(stderr) };
}

Deno.test("-readconfig gives options like the command line", async () => {
  using directory = new TemporaryDirectory();
  Deno.writeTextFileSync(
    directory.file("vm.cfg"),
    [
      ...["[machine]", '  type = "microvm"', "[memory]", '  size = "64M"'],
      ...['[chardev "q"]', '  backend = "stdio"'],
      ...["[mon]", '  chardev = "q"', '  mode = "control"', ""],
    ].join("\n"),
  );
  const argv = ["-nodefaults", "-display", "none", "-S", "-readconfig", "vm.cfg"];
  const folder = directory.file(".");
  const { status, output } = await run(folder, argv, `${greeting}{"execute":"quit"}\n`);
  assertEquals(status, 0);
  assertMatch(output, /"host-qmp-quit"/);

  const missing = await run(folder, ["-readconfig", "none.cfg"]);
  assertEquals(missing, {
    status: 1,
    output: "",
    errors: "molt: -readconfig none.cfg: Could not open 'none.cfg': No such file or directory\n",
  });
  const wrong = await run(folder, ["-readconfig", "/"]);
  assertEquals(wrong.errors, "molt: -readconfig /: Cannot read config file: Is a directory\n");
});

Deno.test("what cannot be opened is an error that names the option", async () => {
  using directory = new TemporaryDirectory();
  const folder = directory.file(".");
  const noFile = "No such file or directory";
  for (
    const [argv, complaint] of [
      [["-chardev", "file,id=c,path=no/f"], `-chardev file,id=c,path=no/f: Could not open 'no/f'`],
      [["-incoming", "file:none"], "-incoming file:none: Could not open 'none'"],
      [["-pidfile", "no/pid"], "cannot create PID file: Could not create 'no/pid'"],
      [["-D", "no/log"], "Error opening logfile no/log"],
      [["-trace", "events=none"], "none"],
      // Nothing uses it.
      [["-blockdev", "file,filename=none,node-name=n"], "Could not open 'none'"],
    ] as const
  ) {
    const { status, output, errors } = await run(folder, [...machine, ...argv]);
    assertEquals([status, output], [1, ""], argv.join(" "));
    const [line = "", ...rest] = errors.split("\n");
    assertEquals(rest, [""], errors);
    assertEquals(line.includes(complaint) && line.endsWith(noFile), true, line);
  }
});

Deno.test("the program's name alone says what to type, and fails", async () => {
  using directory = new TemporaryDirectory();
  const { status, output, errors } = await run(directory.file("."), []);
  assertEquals([status, output], [1, ""]);
  assertMatch(
    errors,
    /^molt: nothing to start: no kernel, firmware or disk is named\nusage: molt /,
  );
});

Deno.test("-add-fd takes what was inherited, and nothing of the program's own", async () => {
  using directory = new TemporaryDirectory();
  // The runtime has descriptors of its own with such numbers.
  for (const fd of [3, 4, 5, 6]) {
    const { status, errors } = await run(directory.file("."), [
      ...[...machine, "-S", "-monitor", "stdio", "-add-fd", `fd=${fd},set=1`],
    ], "quit\n");
    const complaint = `molt: -add-fd fd=${fd},set=1: fd is not valid or already in use\n`;
    assertEquals([status, errors], [1, complaint]);
  }
});

Deno.test("errors go to standard error with -D too, and warnings say that they are once", async () => {
  using directory = new TemporaryDirectory();
  const folder = directory.file(".");
  const argv = [...machine, "-D", "log", "-global", "no.such=1", "-kernel", "none"];
  const { status, errors } = await run(folder, argv);
  assertEquals(status, 1);
  assertEquals(errors.split("\n"), [
    "molt: warning: global no.such has invalid class name",
    "molt: Could not open 'none': No such file or directory",
    "",
  ]);
  assertEquals(Deno.readTextFileSync(directory.file("log")), "");
});

Deno.test("the name of a pseudo terminal is printed on standard output", async () => {
  using directory = new TemporaryDirectory();
  const argv = [...machine, "-S", "-serial", "pty", "-monitor", "stdio"];
  const { status, output, errors } = await run(directory.file("."), argv, "quit\n");
  assertEquals([status, errors], [0, ""]);
  assertMatch(output, /^char device redirected to \/dev\/pts\/\d+ \(label serial0\)\n/);
});

Deno.test("a running machine that is asked to quit says so once, without STOP", async () => {
  using directory = new TemporaryDirectory();
  const argv = [...machine, "-kernel", guestImage("idle.elf"), "-qmp", "stdio"];
  const input = `${greeting}{"execute":"quit"}\n`;
  const { status, output } = await run(directory.file("."), argv, input);
  assertEquals(status, 0);
  const events = output.trim().split("\n").map((line) => JSON.parse(line).event ?? "");
  assertEquals(events.filter((name) => name !== ""), ["SHUTDOWN"]);
});

Deno.test("a disk without a boot sector is reported, and the machine is there", async () => {
  using directory = new TemporaryDirectory();
  Deno.writeFileSync(directory.file("disk"), new Uint8Array(1 << 16));
  const argv = [...machine, "-drive", "file=disk,format=raw", "-qmp", "stdio"];
  const input = `${greeting}{"execute":"query-status"}\n{"execute":"quit"}\n`;
  const { status, output, errors } = await run(directory.file("."), argv, input);
  assertEquals(status, 0);
  assertMatch(output, /"status": "running"/);
  assertEquals(
    errors,
    "molt: warning: could not boot disk 'disk': no boot signature in its first sector; " +
      "the guest has nothing to start from\n",
  );
});

Deno.test("an image of another format is refused unless it is said to be raw, and stays as it is", async () => {
  using directory = new TemporaryDirectory();
  const qcow2 = new Uint8Array(1 << 16);
  qcow2.set([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]);
  Deno.writeFileSync(directory.file("disk"), qcow2);
  const drive = (more: string) => ["-drive", `file=disk,if=none,id=d${more}`];
  const device = ["-device", "virtio-blk-device,drive=d"];
  const refusal =
    "'disk' is an image of the format qcow2, and molt has only raw ones: convert it " +
    "with 'qemu-img convert -O raw', or add 'format=raw' if the guest is to see it as it is\n";
  const folder = directory.file(".");
  // Also where no device uses it, and where the guest is to come from elsewhere.
  for (
    const [argv, option] of [
      [[...drive(""), ...device], "-drive file=disk: "],
      [drive(""), "-drive file=disk: "],
      [["-hda", "disk"], "-drive file=disk: "],
      [
        [...drive(""), ...device, "-incoming", "defer"],
        "-device virtio-blk-device,drive=d: ",
      ],
    ] as const
  ) {
    const { status, errors } = await run(folder, [...machine, ...argv, "-S"]);
    assertEquals([status, errors], [1, `molt: ${option}${refusal}`], argv.join(" "));
  }
  const kernel = ["-kernel", guestImage("idle.elf")];
  const argv = [...machine, ...kernel, ...drive(",format=raw"), ...device, "-S", "-qmp", "stdio"];
  const { status, errors } = await run(folder, argv, `${greeting}{"execute":"quit"}\n`);
  assertEquals([status, errors], [0, ""]);
  assertEquals(Deno.readFileSync(directory.file("disk")), qcow2);
});

Deno.test("a daemon removes its pid file, wherever it was started", async () => {
  using directory = new TemporaryDirectory();
  const folder = directory.file(".");
  const socket = directory.file("qmp");
  const monitor = ["-qmp", `unix:${socket},server=on,wait=off`];
  const { status } = await run(folder, [
    ...[...machine, "-S", "-daemonize", "-pidfile", "pid"],
    ...monitor,
  ]);
  assertEquals(status, 0);
  const file = directory.file("pid");
  assertMatch(Deno.readTextFileSync(file), /^\d+\n$/);
  const second = await run(folder, [...machine, "-S", "-pidfile", "pid"]);
  assertEquals([second.status, second.errors], [
    1,
    "molt: cannot create PID file: Cannot lock pid file: Resource temporarily unavailable\n",
  ]);
  using qmp = await QmpClient.connect(socket, { signal: patience() });
  await qmp.execute("quit");
  while (existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 10));
});

Deno.test("who starts a daemon with a guest from a file learns whether it could be loaded", async () => {
  using directory = new TemporaryDirectory();
  const folder = directory.file(".");
  const daemon = (file: string) =>
    run(folder, [
      ...[...machine, "-daemonize", "-pidfile", "pid", "-incoming", `file:${file}`],
      ...["-qmp", "unix:qmp,server=on,wait=off"],
    ]);
  Deno.writeTextFileSync(directory.file("text"), "this is not a stream, however long it is");
  {
    await using vm = await VirtualMachine.start("molt", [...machine, "-S"], { directory });
    await vm.qmp.execute("migrate", { uri: `file:${directory.file("whole")}` });
    await awaitMigration(vm.qmp, { signal: patience() });
  }
  const whole = Deno.readFileSync(directory.file("whole"));
  Deno.writeFileSync(directory.file("short"), whole.subarray(0, whole.length / 2));

  for (
    const [file, reason] of [
      ["text", "load of migration failed: Invalid argument: at offset 0x0: Not a migration stream"],
      ["short", "load of migration failed: "],
      ["none", "-incoming file:none: Could not open 'none'"],
    ] as const
  ) {
    const { status, output, errors } = await daemon(file);
    assertEquals([status, output], [1, ""], errors);
    assertEquals(
      [errors.startsWith(`molt: ${reason}`), errors.split("\n").length],
      [true, 2],
      errors,
    );
    assertEquals([existsSync(directory.file("pid")), existsSync(directory.file("qmp"))], [
      false,
      false,
    ]);
  }
  assertEquals(await daemon("whole"), { status: 0, output: "", errors: "" });
  using qmp = await QmpClient.connect(directory.file("qmp"), { signal: patience() });
  assertEquals((await qmp.execute("query-status")).status, "prelaunch");
  await qmp.execute("quit");
  while (existsSync(directory.file("pid"))) await new Promise((resolve) => setTimeout(resolve, 10));
});

Deno.test("help that cannot be shown is no fault", async () => {
  using directory = new TemporaryDirectory();
  const [program = "", ...leading] = commandOf("molt");
  const argv = [program, ...leading, "-help"].map((word) => `'${word}'`).join(" ");
  const { success, stderr } = await new Deno.Command("sh", {
    args: ["-c", `${argv} > /dev/full`],
    cwd: directory.file("."),
  }).output();
  assertEquals([success, new TextDecoder().decode(stderr)], [true, ""]);
});

Deno.test("a migration file without a name is refused, and the guest runs on", async () => {
  using directory = new TemporaryDirectory();
  await using vm = await VirtualMachine.start("molt", [
    ...[...machine, "-kernel", guestImage("idle.elf"), "-serial", "null"],
  ], { directory });
  const error = await assertRejects(
    () => vm.qmp.execute("migrate", { uri: "file:" }),
    QmpCommandError,
  );
  assertEquals(error.description, "Could not create '': No such file or directory");
  assertEquals((await vm.qmp.execute("query-status")).status, "running");
});

function existsSync(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
