import { assertEquals, assertObjectMatch, assertThrows } from "@std/assert";
import { parseCommandLine } from "../../../src/cli/parse.ts";
import { InformationRequest } from "../../../src/cli/information.ts";
import { readTracePatterns } from "../../../src/cli/trace.ts";

function parse(...argv: string[]) {
  return parseCommandLine(argv);
}

Deno.test("-incoming takes a URI, a channel as text or JSON, or leaves it to a monitor", () => {
  const main = (text: string) => parse("-incoming", text).incoming?.main;
  assertEquals(main("defer"), { kind: "defer" });
  assertEquals(main("exec:cat a=b,c"), { kind: "uri", uri: "exec:cat a=b,c" });
  const channel = {
    kind: "channel",
    address: { transport: "file", filename: "/f", offset: 4096 },
  } as const;
  assertEquals(main("main,addr.transport=file,addr.filename=/f,addr.offset=0x1000"), channel);
  assertEquals(
    main(
      '{"channel-type":"main","addr":{"transport":"file","filename":"/f","offset":4096}}',
    ),
    channel,
  );
  assertEquals(main("channel-type=main,addr.transport=exec,addr.args.0=sh,addr.args.1=-c"), {
    kind: "channel",
    address: { transport: "exec", args: ["sh", "-c"] },
  });
});

Deno.test("a second -incoming says where CPR state comes from", () => {
  const { incoming } = parse(
    "-incoming",
    "channel-type=cpr,addr.transport=socket,addr.type=unix,addr.path=/cpr",
    "-incoming",
    "tcp:0:4444",
  );
  assertEquals(incoming, {
    main: { kind: "uri", uri: "tcp:0:4444" },
    cpr: { transport: "socket", type: "unix", path: "/cpr" },
  });
});

Deno.test("name, UUID, clock and actions", () => {
  const config = parse(
    ...["-name", "guest,,1,process=p,debug-threads=on"],
    ...["-uuid", "12345678-ABCD-1234-1234-123456789012"],
    ...["-rtc", "base=2006-06-17T16:01:21,clock=vm", "-rtc", "driftfix=slew"],
    ...["-no-reboot", "-action", "panic=none,shutdown=pause"],
  );
  assertEquals(config.name, "guest,1");
  assertObjectMatch(config.process, { name: "p", debugThreads: true });
  assertEquals(config.uuid, "12345678-abcd-1234-1234-123456789012");
  assertEquals(config.clock, {
    base: { kind: "date", seconds: Date.UTC(2006, 5, 17, 16, 1, 21) / 1000 },
    clock: "vm",
    slewLostTicks: true,
  });
  assertEquals(config.actions, {
    reboot: "shutdown",
    shutdown: "pause",
    panic: "none",
    watchdog: "reset",
  });
});

Deno.test("how the process runs and what it logs", () => {
  const config = parse(
    ...["-S", "-daemonize", "-pidfile", "/p", "-run-with", "exit-with-parent=on"],
    ...["-overcommit", "mem-lock=off", "-msg", "timestamp=on", "-msg", "guest-name=on"],
    ...[
      "-D",
      "/log",
      "-d",
      "unimp,trace:vm_*",
      "-trace",
      "enable=cpr_*,file=/t",
      "-trace",
      "events=/e",
    ],
    ...["-add-fd", "fd=5,set=2,opaque=o", "-L", "/a", "-L", "/b", "-sandbox", "off"],
    ...[
      "-only-migratable",
      "-no-user-config",
      "-k",
      "de",
      "-vga",
      "none",
      "-audiodev",
      "none,id=a",
    ],
  );
  assertEquals(config.startPaused, true);
  assertEquals(config.onlyMigratable, true);
  assertObjectMatch(config.process, {
    daemonize: true,
    pidFile: "/p",
    exitWithParent: true,
  });
  assertObjectMatch(config.log, {
    timestamp: true,
    guestName: true,
    file: "/t",
    tracePatterns: ["vm_*", "cpr_*"],
    traceFiles: ["/e"],
  });
  assertEquals(config.inheritedDescriptors, [{ fd: 5, set: 2, opaque: "o" }]);
  assertEquals(config.dataDirectories, ["/a", "/b"]);
});

Deno.test("asking for a trace event by name warns that it is not there", () => {
  const { warnings } = parse("-trace", "vm_x", "-trace", "kvm_*", "-d", "trace:vm_y,unimp");
  assertEquals(warnings, [
    "-trace vm_x: warning: trace event 'vm_x' does not exist",
    "warning: trace event 'vm_y' does not exist",
  ]);
  assertEquals(readTracePatterns("# comment\n\n-vm_z\nkvm_*\n"), ["-vm_z", "kvm_*"]);
});

Deno.test("help asked of an option's list has the exit status that QEMU gives it", () => {
  const status = (...argv: string[]) =>
    assertThrows(() => parse(...argv), InformationRequest).exitStatus;
  assertEquals(status("-rtc", "help"), 1);
  assertEquals(status("-d", "help"), 1);
  assertEquals(status("-machine", "help"), 0);
  assertEquals(status("-trace", "help"), 0);
  assertEquals(status("-drive", "format=help"), 0);
  assertEquals(status("-audio", "help"), 0);
  // A first word without a key is the value of the key that it may leave out.
  assertEquals(parse("-name", "help").name, "help");
});

Deno.test("fw_cfg entries come from files or texts", () => {
  const { firmwareItems, warnings } = parse(
    ...["-fw_cfg", "opt/a,string=x,,y", "-fw_cfg", "name=b,file=/f"],
  );
  assertEquals(firmwareItems, [
    { name: "opt/a", content: { kind: "string", text: "x,y" } },
    { name: "b", content: { kind: "file", path: "/f" } },
  ]);
  assertEquals(warnings, [
    '-fw_cfg name=b,file=/f: warning: externally provided fw_cfg item names should be prefixed with "opt/"',
  ]);
});

Deno.test("-readconfig reads the same options from a file", () => {
  const file = `
# a monitor
[chardev "c"]
  backend = "null"

[mon]
  chardev = "c"
  mode = "control"
[memory]
  size = "1G"
[name]
  guest = "a,b"
`;
  const config = parseCommandLine(["-nodefaults", "-readconfig", "/f"], { readText: () => file });
  assertEquals(config.monitors, [{ chardev: "c", mode: "control", pretty: false }]);
  assertEquals(config.memory.size, 2 ** 30);
  assertEquals(config.name, "a,b");
});

Deno.test("questions are answered at once, before what follows is looked at", () => {
  const answer = (...argv: string[]) => assertThrows(() => parse(...argv), InformationRequest).text;
  const questions = [
    ["-version"],
    ["--help"],
    ["-machine", "help"],
    ["-M", "microvm,help"],
    ["-accel", "help"],
    ["-accel", "kvm,help"],
    ["-cpu", "help"],
    ["-device", "help"],
    ["-device", "virtio-blk-device,help"],
    ["-object", "help"],
    ["-object", "memory-backend-file,help"],
    ["-netdev", "help"],
    ["-netdev", "tap,help"],
    ["-chardev", "help"],
    ["-smp", "help"],
    ["-boot", "help"],
    ["-d", "help"],
    ["-display", "help"],
  ];
  for (const question of questions) {
    const text = answer(...question, "-m", "bogus");
    assertEquals(text.trimEnd(), text);
    assertEquals(text.length > 0, true, question.join(" "));
  }
});

Deno.test("what is connected to nothing, and what has no effect, is reported", () => {
  const warnings = (...argv: string[]) => parse("-M", "microvm", "-nodefaults", ...argv).warnings;
  const backend = ["-netdev", "socket,id=n,listen=127.0.0.1:0"];
  assertEquals(warnings(...backend), ["warning: netdev n has no peer"]);
  // QEMU's test library takes what it does not expect for a failure.
  assertEquals(warnings(...backend, "-qtest", "unix:/q", "-device", "virtio-net-device"), []);
  assertEquals(warnings(...backend, "-device", "virtio-net-device,netdev=n"), []);
  assertEquals(warnings("-device", "virtio-net-device"), [
    "warning: nic virtio-net-device.0 has no peer",
  ]);
  assertEquals(warnings("-object", "memory-backend-ram,id=m,size=1M"), [
    "warning: nothing uses the memory 'm': name it with '-machine memory-backend=m'",
  ]);
  assertEquals(warnings("-rtc", "driftfix=slew"), []);
  assertEquals(warnings("-rtc", "driftfix=slew", "-machine", "rtc=on"), [
    "warning: -rtc driftfix=slew: lost ticks are not made up for",
  ]);
  assertEquals(warnings("-global", "kvm-pit.lost_tick_policy=delay"), []);
});

Deno.test("what libvirt always gives is taken", () => {
  const config = parse(
    ...["-audiodev", '{"id":"audio1","driver":"none"}'],
    ...["-chardev", "null,id=charmonitor"],
    ...["-mon", "chardev=charmonitor,id=monitor,mode=control"],
  );
  assertEquals(config.monitors[0], { chardev: "charmonitor", mode: "control", pretty: false });
});
