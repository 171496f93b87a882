import { assertEquals, assertMatch } from "@std/assert";
import { complete } from "../../../../src/monitor/hmp/completion.ts";
import { humanCommands } from "../../../../src/monitor/hmp/commands/index.ts";
import { initialState } from "../../../../src/monitor/hmp/state.ts";
import { runHumanLine } from "../../../../src/monitor/hmp/runner.ts";
import { createPipe } from "../../../../src/native/file.ts";
import { MonitorBench } from "../bench.ts";

/** What each line prints, one after the other in one monitor. */
async function run(bench: MonitorBench, ...lines: string[]): Promise<string[]> {
  const state = initialState();
  const outputs: string[] = [];
  for (const line of lines) {
    let output = "";
    await runHumanLine({
      context: bench.context,
      state,
      print: (text) => output += text,
      takeDescriptor: () => undefined,
    }, line);
    outputs.push(output);
  }
  return outputs;
}

/** Lines and what QEMU 11.1.3 prints for them, each in a new monitor. */
const cases: [string, string][] = [
  ["", ""],
  ["   ", ""],
  ["info status", "VM status: running\n"],
  ["  info   status  ", "VM status: running\n"],
  ["foo", "unknown command: 'foo'\n"],
  ["info foo", "unknown command: 'info foo'\n"],
  ["info status;stop", "unknown command: 'info status;stop'\n"],
  ["# x", "unknown command: '#'\n"],
  ['"stop"', "unknown command: '\"stop\"'\n"],
  [
    "stop x",
    'stop|s: extraneous characters at the end of line\nTry "help stop" for more information\n',
  ],
  ["q x", 'quit|q: extraneous characters at the end of line\nTry "help q" for more information\n'],
  [
    "info name x",
    'name: extraneous characters at the end of line\nTry "help info name" for more information\n',
  ],
  ["getfd", 'getfd: string expected\nTry "help getfd" for more information\n'],
  ['getfd "a', 'getfd: unterminated string\nTry "help getfd" for more information\n'],
  ["getfd a", "Error: No file descriptor supplied via SCM_RIGHTS\n"],
  ["closefd a", "Error: File descriptor named 'a' not found\n"],
  ["help stop", "stop|s  -- stop emulation\n"],
  ["? c", "cont|c  -- resume emulation\n"],
  ["help foo", "unknown command: 'foo'\n"],
  ["help info status", "info status  -- show the current VM status (running|paused)\n"],
  ["info version", "11.1.3molt test\n"],
  ["i /b 0x3f9", "portb[0x03f9] = 0x05\n"],
  ["i 0x3f9", "portl[0x03f9] = 0xffffffff\n"],
  ["i", 'unexpected end of expression\nTry "help i" for more information\n'],
  ["o 0x80", 'unexpected end of expression\nTry "help o" for more information\n'],
  ["loadvm", 'loadvm: string expected\nTry "help loadvm" for more information\n'],
  ["savevm", "Error: Device 'd0' is writable but does not support snapshots\n"],
  ["info snapshots", "Error: Device 'd0' is writable but does not support snapshots\n"],
  ["migrate_recover tcp:0:0", "Error: Migrate recover can only be run when postcopy is paused.\n"],
  [
    "migrate_pause",
    "Error: migrate-pause is currently only supported during postcopy-active or " +
    "postcopy-recover state\n",
  ],
  [
    "migrate_start_postcopy",
    "Error: Enable postcopy with migrate_set_capability before the start of migration\n",
  ],
  ["info block-jobs", "No active jobs\n"],
  ["info usb", "Error: USB support not enabled\n"],
  // The bench's memory counts bytes; only the widest values have a sign.
  ["xp /2dw 200", "000000c8: 3419064776 3486436812\n"],
  ["xp /3ob 7", "00000007: 0  7 0 10 0 11\n"],
  ["info name", "bench\n"],
  ["info uuid", "00000000-0000-0000-0000-000000000001\n"],
  ["info kvm", "kvm support: enabled\n"],
  ["info cpus", "* CPU #0: thread_id=100 model=host\n  CPU #1: thread_id=101 model=host\n"],
  ["info accelerators", "[kvm]\n"],
  ["info memory_size_summary", "base memory: 65536\nplugged memory: 0\n"],
  [
    "info memdev",
    "memory backend: ram0\n  size:  65536\n  merge: true\n  dump: true\n  prealloc: false\n" +
    "  share: true\n  reserve: true\n  policy: default\n  host nodes: \n\n",
  ],
  [
    "info ramblock",
    "              Block Name    PSize              Offset               Used" +
    "              Total                HVA  RO\n" +
    "                    ram0    4 KiB  0x0000000000000000 0x0000000000010000" +
    " 0x0000000000010000 0x00007f0000000000  rw\n",
  ],
  [
    "info block",
    "d0 (node0): /images/disk.raw (raw)\n    Attached to:      disk0\n" +
    "    Cache mode:       writeback\n",
  ],
  ["info block nope", ""],
  [
    "info block -v d0",
    "d0 (node0): /images/disk.raw (raw)\n    Attached to:      disk0\n" +
    "    Cache mode:       writeback\n\nImages:\nimage: /images/disk.raw\nfile format: raw\n" +
    "virtual size: 1 MiB (1048576 bytes)\ndisk size: 4 KiB\n",
  ],
  ["info block -n", "node0: /images/disk.raw (raw)\n    Cache mode:       writeback\n"],
  [
    "info blockstats",
    "d0: idle_time_ns=0\n" +
    "                          bytes       operations            total_time_ns     merged\n" +
    "Read:                      8192                2                     5000          0\n" +
    "Write:                      512                1                      700          0\n" +
    "Flush:                                         3                       90\n",
  ],
  [
    "info network",
    "n1: index=0,type=dgram\n" +
    "net0: index=0,type=nic,model=virtio-net-device,macaddr=52:54:00:12:34:56\n" +
    " \\ n0: index=0,type=tap,ifname=tap0\n",
  ],
  ["info balloon", "balloon: actual=64\n"],
  ["balloon 32", ""],
  ["balloon 0", "Error: Parameter 'target' expects a size\n"],
  ["set_link net0 off", ""],
  ["set_link net9 off", "Error: Device 'net9' not found\n"],
  [
    "set_link net0 maybe",
    "Expected 'on' or 'off'\nTry \"help set_link\" for more information\n",
  ],
  ["info hotpluggable-cpus", "Error: machine does not support hot-plugging CPUs\n"],
  ["system_wakeup", "Error: wake-up from suspend is not supported by this guest\n"],
  ["cpu 9", "invalid CPU index\n"],
  ["cpu x", "invalid char 'x' in expression\nTry \"help cpu\" for more information\n"],
  ["info registers 7", "CPU#7 not available\n"],
  [
    "info registers -z",
    'registers: unsupported option -z\nTry "help info registers" for more information\n',
  ],
  ["device_add foo", "Error: 'foo' is not a valid device model name\n"],
  ["device_del foo", "Error: Device 'foo' not found\n"],
  ["chardev-add foo,id=y", "Error: 'foo' is not a valid char driver name\n"],
  ["chardev-add null", "Error: chardev: no id specified\n"],
  ["chardev-remove xx", "Error: Chardev 'xx' not found\n"],
  ["chardev-change x null", "Error: Chardev 'x' does not exist\n"],
  ["chardev-send-break x", "Error: Chardev 'x' not found\n"],
  ["qom-list /", "type (string)\nmachine (child<microvm-machine>)\n"],
  ["qom-get /machine type", '"microvm-machine"\n'],
  ["qom-get /machine nope", "Error: Property 'microvm-machine.nope' not found\n"],
  ["print 1+2*3", "0x7\n"],
  ["p/x 255", "0xff\n"],
  ["p /c 65", "'A'\n"],
  ["p/d -1", "-1\n"],
  ["p/x -1", "0xffffffffffffffff\n"],
  ["p/u -1", "18446744073709551615\n"],
  ["p/o 8", "010\n"],
  ["p 1+2*3&2", "0x3\n"],
  ["p/d -5%3", "-2\n"],
  ["p $rip", "0xfff0\n"],
  ["p/x $cs", "0xf000\n"],
  ["p $pc", "0xfffffff0\n"],
  ["p $rbx", "0x3\n"],
  ["p 1/0", 'division by zero\nTry "help p" for more information\n'],
  ["p (1", "')' expected\nTry \"help p\" for more information\n"],
  ["p foo", "invalid char 'f' in expression\nTry \"help p\" for more information\n"],
  ["p $foo", 'unknown register\nTry "help p" for more information\n'],
  ["p 'ab", 'missing terminating \' character\nTry "help p" for more information\n'],
  ["p 99999999999999999999", 'number too large\nTry "help p" for more information\n'],
  [
    "p 0x",
    'print|p: extraneous characters at the end of line\nTry "help p" for more information\n',
  ],
  ["print", 'unexpected end of expression\nTry "help print" for more information\n'],
  ["xp/2xq 0", "invalid char in format: 'q'\nTry \"help xp\" for more information\n"],
  ["xp/8xb 0", "00000000: 0x00 0x01 0x02 0x03 0x04 0x05 0x06 0x07\n"],
  ["xp/2xw 0", "00000000: 0x03020100 0x07060504\n"],
  ["xp/2xg 8", "00000008: 0x0f0e0d0c0b0a0908 0x1716151413121110\n"],
  ["xp/2dh 0", "00000000:   256   770\n"],
  ["xp/1c 0x41", "00000041: 'A' 'B' 'C' 'D'\n"],
  [
    "xp/10xb 0xfff8",
    "0000fff8: 0x11 0x12 0x13 0x14 0x15 0x16 0x17 0x18\n00010000: Cannot access memory\n",
  ],
  ["xp 0xffffffffffff", "ffffffffffff: Cannot access memory\n"],
  ["x/2xb 0xffff000000000010", "ffff000000000010: 0x10 0x11\n"],
];

for (const [line, expected] of cases) {
  Deno.test(`monitor line: ${JSON.stringify(line)}`, async () => {
    await using bench = new MonitorBench();
    assertEquals(await run(bench, line), [expected]);
  });
}

Deno.test("commands that act on the machine do", async () => {
  await using bench = new MonitorBench();
  const outputs = await run(
    bench,
    "stop",
    "info status",
    "c",
    "info status",
    "system_reset",
    "system_powerdown",
    "nmi",
    "q",
  );
  assertEquals(outputs.join(""), "VM status: paused\nVM status: running\n");
  assertEquals(bench.calls, ["reset", "power down", "nmi", "quit"]);
});

Deno.test("a monitor remembers the vCPU and the format", async () => {
  await using bench = new MonitorBench();
  const [, cpus, , decimal, remembered] = await run(
    bench,
    "cpu 1",
    "info cpus",
    "stop",
    "p/d 16",
    "p 17",
  );
  assertMatch(cpus ?? "", /^ {2}CPU #0: .*\n\* CPU #1: /);
  assertEquals([decimal, remembered], ["16\n", "17\n"]);
});

Deno.test("character devices come and go", async () => {
  await using bench = new MonitorBench();
  const path = bench.path("out");
  const outputs = await run(
    bench,
    `chardev-add ringbuf,id=x,size=16`,
    `chardev-change x file,path=${path}`,
    "info chardev",
    "chardev-remove x",
    "info chardev",
  );
  assertEquals(outputs, ["", "", "x: filename=file\n", "", ""]);
});

Deno.test("registers are shown as QEMU shows them", async () => {
  await using bench = new MonitorBench();
  const [text = ""] = await run(bench, "info registers");
  assertEquals(text.split("\n").slice(0, 8), [
    "",
    "CPU#0",
    "EAX=00000000 EBX=00000003 ECX=00000001 EDX=00000002",
    "ESI=00000006 EDI=00000007 EBP=00000005 ESP=00000004",
    "EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0",
    "ES =0000 00000000 0000ffff 00009300",
    "CS =f000 ffff0000 0000ffff 00009b00",
    "SS =0000 00000000 0000ffff 00009300",
  ]);
  const [all = ""] = await run(bench, "info registers -a");
  assertMatch(all, /\nCPU#0\n[^]*\nCPU#1\n/);
});

Deno.test("pmemsave copies memory to a file", async () => {
  await using bench = new MonitorBench();
  const path = bench.path("memory");
  assertEquals(await run(bench, `pmemsave 16 4 "${path}"`), [""]);
  assertEquals(Deno.readFileSync(path), Uint8Array.of(16, 17, 18, 19));
  assertEquals(await run(bench, `pmemsave 0x10000 4 "${path}"`), [
    "Error: Invalid addr 0x10000/size 4 specified\n",
  ]);
});

Deno.test("help lists every command, info every subject", async () => {
  await using bench = new MonitorBench();
  const [help = "", info = ""] = await run(bench, "help", "info");
  assertMatch(help, /\nchardev-add args -- add chardev\n/);
  assertMatch(help, /\nstop\|s {2}-- stop emulation\n/);
  assertMatch(info, /^info accelerators {2}-- /);
});

Deno.test("getfd over QMP's human-monitor-command takes the descriptor of the request", async () => {
  await using bench = new MonitorBench();
  using client = await bench.client(await bench.listen());
  const [reader, writer] = createPipe();
  using _reader = reader;
  using _writer = writer;
  const request = { execute: "human-monitor-command", arguments: { "command-line": "getfd a" } };
  client.send(JSON.stringify(request), [reader.fd]);
  assertEquals(await client.message(), { return: "" });
  using taken = bench.descriptors.takeNamed("a");
  assertEquals(taken === undefined, false);
});

Deno.test("o writes a port with the size of its format", async () => {
  await using bench = new MonitorBench();
  assertEquals(await run(bench, "o /b 0x80 0x105", "o /h 0x80 5"), ["", ""]);
  assertEquals(bench.calls, ["out 128 1 5", "out 128 2 5"]);
});

Deno.test("commands are completed, and names of what some are about", () => {
  const found = (text: string) => complete(humanCommands, text);
  assertEquals(found("migrate_s"), [
    "migrate_set_capability",
    "migrate_set_parameter",
    "migrate_start_postcopy",
  ]);
  assertEquals(found("info mem"), [
    "mem",
    "memdev",
    "memory-devices",
    "memory_size_summary",
  ]);
  assertEquals(found("migrate_set_parameter mu"), [
    "multifd-channels",
    "multifd-compression",
    "multifd-qatzip-level",
    "multifd-zlib-level",
    "multifd-zstd-level",
  ]);
  assertEquals(found("migrate_set_capability map"), ["mapped-ram"]);
  assertEquals(found("help sto"), ["stop"]);
  assertEquals(found("help stop s"), []);
  assertEquals(found("stop s"), []);
});
