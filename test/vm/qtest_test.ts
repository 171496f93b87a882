import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { patience } from "../support/patience.ts";
import { guestImage } from "../support/programs.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";
import { TestedMachine } from "./tested_machine.ts";

const dirtier = () => [
  ...["-accel", "kvm", "-accel", "tcg", "-machine", "microvm,", "-m", "150M"],
  ...["-drive", `file=${guestImage("boot_sector.img")},format=raw`],
];

/** Waits until what a number's address holds is another one. */
async function awaitChange(machine: TestedMachine, address: number): Promise<void> {
  const before = await machine.readNumber("readb", address);
  const signal = patience();
  while (await machine.readNumber("readb", address) === before) signal.throwIfAborted();
}

Deno.test("a program asks what there is of a machine without a board", async () => {
  await using machine = await TestedMachine.start(["-machine", "none"]);
  const machines: { name: string }[] = await machine.execute("query-machines");
  assertEquals(machines.map(({ name }) => name), ["none", "microvm"]);
  const types: { name: string }[] = await machine.execute("qom-list-types", {
    implements: "device",
    abstract: false,
  });
  assert(types.some(({ name }) => name === "virtio-blk-device"));
  assertEquals(await machine.execute("query-cpus-fast"), []);
  assertEquals((await machine.execute("query-accelerators")).enabled, "qtest");
  const reply = await machine.command("migrate", { uri: "file:/dev/null" });
  assert("error" in reply);
  assertEquals(await machine.execute("query-status"), { status: "running", running: true });
  await machine.execute("stop");
  await machine.event("STOP");
  assertEquals(await machine.qtest("inb 0x3f8"), "OK 0x00ff");
  assertEquals(await machine.qtest("clock_step 5"), "OK 5");
  await machine.quit();
});

Deno.test("nothing is printed where QEMU prints nothing to its test library", async () => {
  await using machine = await TestedMachine.start([
    ...["-machine", "none", "-netdev", "socket,id=net0,listen=127.0.0.1:0"],
    ...["-object", "memory-backend-ram,id=unused,size=1M"],
  ]);
  // It ends by SIGTERM, which is reported to anybody else.
  await machine.quit();
  assertEquals(machine.errorText, "");
});

Deno.test("memory is read and written beside the running guest", async () => {
  const FIRST_PAGE = 0x100000;
  await using machine = await TestedMachine.start(dirtier());
  await awaitChange(machine, FIRST_PAGE);
  const marker = 0xfeed12345678cafen;
  assertEquals(await machine.qtest(`writeq ${FIRST_PAGE + 1024} 0x${marker.toString(16)}`), "OK");
  await awaitChange(machine, FIRST_PAGE);
  assertEquals(await machine.readNumber("readq", FIRST_PAGE + 1024), marker);

  await machine.execute("stop");
  const stopped = await machine.qtest(`b64read ${FIRST_PAGE} 0x100000`);
  assertEquals(await machine.qtest(`b64read ${FIRST_PAGE} 0x100000`), stopped);
  await machine.execute("cont");
  await awaitChange(machine, FIRST_PAGE);
  await machine.quit();
});

Deno.test("ports and registers are accessed as by a guest, and no vCPU is confused by it", async () => {
  await using machine = await TestedMachine.start(dirtier());
  const SERIAL_SCRATCH = 0x3ff;
  assertEquals(await machine.qtest(`outb ${SERIAL_SCRATCH} 0x5a`), "OK");
  assertEquals(await machine.qtest(`inb ${SERIAL_SCRATCH}`), "OK 0x005a");
  assertEquals(await machine.qtest("inl 0xfff0"), "OK 0xffffffff");
  assertEquals(await machine.qtest("readl 0xfea00000"), "OK 0x0000000000000000");
  assertEquals(await machine.qtest("clock_step 100"), "FAIL Unknown command 'clock_step'");
  await awaitChange(machine, 0x100000);
  await machine.quit();
});

Deno.test("the power-off register ends the machine", async () => {
  await using machine = await TestedMachine.start([...dirtier(), "-no-shutdown"]);
  const SLEEP_CONTROL = 0xfea00200;
  assertEquals(await machine.qtest(`writeb ${SLEEP_CONTROL} 0x34`), "OK");
  const { data } = await machine.event("SHUTDOWN");
  assertEquals(data, { guest: true, reason: "guest-shutdown" });
  await machine.quit();
});

Deno.test("with -accel qtest no vCPU runs and the test turns the clock on", async () => {
  await using machine = await TestedMachine.start([
    ...["-machine", "microvm,rtc=on", "-rtc", "base=2024-01-01T00:00:00,clock=vm", "-m", "16M"],
    ...["-drive", `file=${guestImage("boot_sector.img")},format=raw`],
  ]);
  const clock = async () => {
    const bytes: string[] = [];
    for (const register of [4, 2, 0]) {
      await machine.qtest(`outb 0x70 ${register}`);
      bytes.push((await machine.qtest("inb 0x71")).slice(-2));
    }
    return bytes.join(":");
  };
  assertEquals(await clock(), "00:00:00");
  assertMatch(await machine.qtest("clock_step 3661000000000"), /^OK \d+$/);
  assertEquals(await clock(), "01:01:01");
  assertEquals(await machine.readNumber("readb", 0x100000), 0n);
  assertEquals((await machine.execute("query-status")).running, true);
  await machine.quit();
});

Deno.test("a server serves one client after the other, whatever the last one left", async () => {
  using directory = new TemporaryDirectory();
  const path = directory.file("qtest.sock");
  await using _ = await VirtualMachine.start("molt", [
    ...["-machine", "none", "-qtest", `unix:${path},server=on,wait=off`],
    ...["-qtest-log", directory.file("log")],
  ], { directory });
  const ask = async (text: string) => {
    using connection = await Deno.connect({ transport: "unix", path });
    await connection.write(new TextEncoder().encode(text));
    const buffer = new Uint8Array(256);
    return new TextDecoder().decode(buffer.subarray(0, await connection.read(buffer) ?? 0));
  };
  for (let round = 0; round < 3; round++) {
    assertEquals(await ask("endianness\nwrite 0x1000 4 0x11"), "OK little\n");
  }
  const noise = crypto.getRandomValues(new Uint8Array(10_000));
  assertNotEquals(await ask(`${new TextDecoder("latin1").decode(noise)}\n`), "");
  assertEquals(await ask("endianness\n"), "OK little\n");
  assertMatch(await Deno.readTextFile(directory.file("log")), /\[R \+\d\.\d+\] endianness\n/);
});
