import { assertEquals, assertObjectMatch, assertThrows } from "@std/assert";
import { parseCommandLine } from "../../../src/cli/parse.ts";
import { OptionError } from "../../../src/configuration/errors.ts";

function parse(text: string) {
  return parseCommandLine(text.split(" "));
}

/** What is where, by the kinds of the devices' backends. */
function connections(text: string) {
  const { chardevs, serialPorts, monitors } = parse(text);
  const kinds = new Map(chardevs.map(({ id, backend }) => [id, backend.kind]));
  return {
    serial: serialPorts.map((port) => port.kind === "none" ? "none" : kinds.get(port.id)),
    monitors: monitors.map(({ chardev, mode }) => `${mode} on ${kinds.get(chardev)}`),
  };
}

Deno.test("by default the serial port exists and goes nowhere, and there is no monitor", () => {
  assertEquals(connections("-display none"), { serial: ["null"], monitors: [] });
  assertEquals(connections("-nodefaults"), { serial: [], monitors: [] });
});

Deno.test("-nographic goes with -daemonize if nothing would use the terminal", () => {
  for (const rest of ["-nodefaults", "-serial null -monitor none"]) {
    assertEquals(connections(`-nographic -daemonize ${rest}`).monitors, []);
  }
  for (const rest of [[], ["-serial null"], ["-monitor none"]]) {
    assertThrows(
      () => parse(["-nographic -daemonize", ...rest].join(" ")),
      OptionError,
      "-nographic cannot be used with -daemonize",
    );
  }
});

Deno.test("-nographic puts serial port and monitor on the terminal, as far as they are free", () => {
  assertEquals(connections("-nographic"), {
    serial: ["stdio"],
    monitors: ["readline on stdio"],
  });
  assertObjectMatch(parse("-nographic").chardevs[0]!, { id: "serial0", mux: true });
  assertEquals(connections("-nographic -monitor none"), { serial: ["stdio"], monitors: [] });
  assertEquals(connections("-nographic -serial null"), {
    serial: ["null"],
    monitors: ["readline on stdio"],
  });
  assertEquals(connections("-nographic -nodefaults"), { serial: [], monitors: [] });
  assertEquals(connections("-nographic -serial mon:stdio"), {
    serial: ["stdio"],
    monitors: ["readline on stdio"],
  });
});

Deno.test("ports and monitors use devices of their own or shared ones", () => {
  assertEquals(
    connections(
      "-chardev ringbuf,id=r -serial chardev:r -qmp unix:/q,server=on,wait=off -mon r,mode=readline",
    ),
    {
      serial: ["ringbuf"],
      monitors: ["control on socket", "readline on ringbuf"],
    },
  );
  assertEquals(connections("-serial none -monitor none -parallel none"), {
    serial: ["none"],
    monitors: [],
  });
});

Deno.test("devices are made in QEMU's order: those that wait for clients may rely on it", () => {
  const { chardevs } = parse("-serial null -monitor null -chardev null,id=c -qmp-pretty null");
  assertEquals(chardevs.map(({ id }) => id), [
    "compat_monitor0",
    "c",
    "compat_monitor1",
    "serial0",
  ]);
});

Deno.test("a monitor may be an object", () => {
  const { objects } = parse(
    "-chardev null,id=c -object monitor-qmp,id=q,chardev=c,pretty=on -nodefaults",
  );
  assertEquals(objects[0], {
    type: "monitor",
    id: "q",
    chardev: "c",
    mode: "control",
    pretty: true,
  });
});

Deno.test("a test drives the machine as QEMU's test library starts it", () => {
  const config = parse(
    "-run-with exit-with-parent=on -qtest unix:/s -qtest-log /dev/null " +
      "-chardev socket,path=/m,id=char0 -mon chardev=char0,mode=control -display none -audio none " +
      "-machine none -accel qtest",
  );
  assertEquals(config.qtest, { chardev: "qtest", log: "/dev/null" });
  assertEquals(config.accelerators, [{ kind: "qtest" }]);
  assertEquals(config.process.exitWithParent, true);
  assertObjectMatch(config.chardevs.find(({ id }) => id === "qtest")!, {
    backend: { kind: "socket", role: { kind: "client" } },
  });
});
