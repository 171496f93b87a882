import { assertEquals, assertThrows } from "@std/assert";
import { parseCommandLine } from "../../../src/cli/parse.ts";
import { OptionError } from "../../../src/configuration/errors.ts";
import { openFile } from "../../../src/native/file.ts";
import {
  cpuFlags,
  findFirmware,
  firmwareOptions,
  rtcStart,
  uuidBytes,
} from "../../../src/guest/configuration.ts";

function flags(argument: string) {
  const { features, ...how } = cpuFlags(parseCommandLine(["-cpu", argument]).cpu);
  return { ...Object.fromEntries(features), ...how };
}

function refusal(argument: string): string {
  return assertThrows(() => flags(argument), OptionError).message;
}

Deno.test("-cpu's features: +name and -name overrule name=value", () => {
  assertEquals(flags("host,+avx,avx=off,-sse2,enforce"), {
    avx: true,
    sse2: false,
    check: true,
    enforce: true,
  });
  assertEquals(flags("max,migratable=on,check=off,kvm_pv_eoi=on"), {
    "kvm-pv-eoi": true,
    check: false,
    enforce: false,
  });
});

Deno.test("-cpu's mistakes have QEMU's words", () => {
  assertEquals(refusal("host,+foo"), "Property 'host-x86_64-cpu.foo' not found");
  assertEquals(
    refusal("host,foo=on"),
    "can't apply global host-x86_64-cpu.foo=on: Property 'host-x86_64-cpu.foo' not found",
  );
  assertEquals(
    refusal("host,avx=maybe"),
    "can't apply global host-x86_64-cpu.avx=maybe: Parameter 'avx' expects 'on' or 'off'",
  );
  assertEquals(
    refusal("host,kvm=off"),
    "can't apply global host-x86_64-cpu.kvm=off: 'kvm=off' is not available: use 'kvm=on'",
  );
});

Deno.test("-uuid's bytes are in the order of its text", () => {
  const bytes = uuidBytes("00112233-4455-6677-8899-aabbccddeeff");
  assertEquals([...bytes.subarray(0, 3), bytes[15]], [0x00, 0x11, 0x22, 0xff]);
});

Deno.test("-rtc base= is a date, the host's time, or its local time", () => {
  const start = (base: string) => rtcStart(parseCommandLine(["-rtc", `base=${base}`]));
  assertEquals(start("2006-06-17T16:01:21"), Date.UTC(2006, 5, 17, 16, 1, 21) / 1000);
  const offset = new Date().getTimezoneOffset() * 60;
  assertEquals(Math.round((start("utc") - start("localtime") - offset) / 60), 0);
});

Deno.test("firmware's options and -fw_cfg's files", async () => {
  const directory = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${directory}/content`, "from a file");
    const options = (...argv: string[]) => {
      const config = parseCommandLine(argv);
      if (config.machine.type !== "microvm") throw new Error("another machine");
      return firmwareOptions(config, config.machine, openFile);
    };
    const given = options(
      ...["-nographic", "-boot", "menu=on,reboot-timeout=500"],
      ...["-fw_cfg", "opt/a,string=text", "-fw_cfg", `opt/b,file=${directory}/content`],
    );
    assertEquals({ ...given, files: [] }, {
      noGraphic: true,
      bootMenu: true,
      rebootTimeout: 500,
      files: [],
    });
    assertEquals(
      given.files.map(({ name, bytes }) => [name, new TextDecoder().decode(bytes)]),
      [["opt/a", "text"], ["opt/b", "from a file"]],
    );
    assertThrows(
      () => options("-fw_cfg", "opt/a,file=/nonexistent"),
      OptionError,
      "-fw_cfg opt/a,file=/nonexistent: can't load /nonexistent",
    );
    assertEquals(
      findFirmware("content", ["/nonexistent", directory], openFile),
      `${directory}/content`,
    );
    assertEquals(findFirmware("missing", [directory], openFile), "missing");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
