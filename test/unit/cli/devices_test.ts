import { assertEquals, assertObjectMatch, assertThrows } from "@std/assert";
import { parseCommandLine } from "../../../src/cli/parse.ts";
import { OptionError } from "../../../src/configuration/errors.ts";

function parse(text: string) {
  return parseCommandLine(text.split(" "));
}

Deno.test("a drive is a raw node over a file, with the treatment of its errors", () => {
  const { drives } = parse(
    "-drive file=/a,,b.img,format=raw,if=none,id=d,readonly=on,cache=none,aio=native,discard=unmap," +
      "werror=report,rerror=stop,file.locking=off",
  );
  const node = {
    readOnly: true,
    autoReadOnly: false,
    direct: true,
    noFlush: false,
    discard: "unmap",
    detectZeroes: "off",
    forceShare: false,
  } as const;
  assertEquals(drives, [{
    id: "d",
    media: "disk",
    index: 0,
    writeback: true,
    writeError: "report",
    readError: "stop",
    node: {
      ...node,
      driver: "raw",
      probed: false,
      offset: 0,
      file: { ...node, driver: "file", filename: "/a,b.img", locking: "off", aio: "native" },
    },
  }]);
});

Deno.test("drives without a name or place get QEMU's", () => {
  const { drives, warnings } = parse(
    "-drive file=a,format=raw -cdrom c -drive file=d,format=raw" +
      " -device virtio-blk-device,drive=none20 -device virtio-blk-device,drive=none10",
  );
  assertEquals(drives.map(({ id, index, media }) => [id, index, media]), [
    ["none00", 0, "disk"],
    ["none20", 2, "cdrom"],
    ["none10", 1, "disk"],
  ]);
  assertEquals(warnings, []);
  // Of an image without a format it is looked at what it is.
  assertEquals(
    drives.map(({ node }) => node?.driver === "raw" && node.probed),
    [false, true, false],
  );
});

Deno.test("a disk that the guest would not see is refused as a PC's, and warned of as a drive", () => {
  const refusal = (text: string) => assertThrows(() => parse(text), OptionError).message;
  for (
    const [text, option, drive] of [
      ["-kernel k -hda a", "-hda a", "none00"],
      ["-kernel k a", "a", "none00"],
      ["-bios b -cdrom a", "-cdrom a", "none20"],
      // The first one is booted from.
      ["-hda a -hdb b", "-hdb b", "none10"],
    ]
  ) {
    assertEquals(
      refusal(text ?? ""),
      `${option}: the board has no disk controller, the guest would not see this disk: ` +
        `add '-device virtio-blk-device,drive=${drive}', or leave it out`,
    );
  }
  for (const text of ["-hda a", "-kernel k -hda a -device virtio-blk-device,drive=none00"]) {
    assertEquals(parse(text).warnings, []);
  }
  assertEquals(parse("-kernel k -drive file=a,id=d").warnings, [
    "warning: nothing uses the drive 'd': add '-device virtio-blk-device,drive=d'",
  ]);
});

Deno.test("a word that is no option is a disk image", () => {
  const { drives } = parse("-S disk.img");
  assertObjectMatch(drives[0]!, { index: 0, node: { file: { filename: "disk.img" } } });
});

Deno.test("the cache modes of -drive, and their parts", () => {
  const cache = (text: string) => {
    const [drive] = parse(`-drive file=x,format=raw,${text}`).drives;
    return [drive?.node?.direct, drive?.node?.noFlush, drive?.writeback];
  };
  assertEquals(cache("cache=writeback"), [false, false, true]);
  assertEquals(cache("cache=writethrough"), [false, false, false]);
  assertEquals(cache("cache=none"), [true, false, true]);
  assertEquals(cache("cache=directsync"), [true, false, false]);
  assertEquals(cache("cache=unsafe"), [false, true, true]);
  assertEquals(cache("cache=none,cache.direct=off,cache.no-flush=on"), [false, true, true]);
});

Deno.test("block nodes nest by dotted keys, in JSON, or by name", () => {
  const dotted = parse("-blockdev raw,node-name=r,offset=512,file.driver=file,file.filename=/x");
  const json = parse(
    '-blockdev {"driver":"raw","node-name":"r","offset":512,"file":{"driver":"file","filename":"/x"}}',
  );
  assertEquals(dotted.blockNodes, json.blockNodes);
  assertObjectMatch(dotted.blockNodes[0]!, {
    driver: "raw",
    nodeName: "r",
    offset: 512,
    file: { driver: "file", filename: "/x", aio: "threads", locking: "auto" },
  });
  const { blockNodes } = parse(
    "-blockdev null-co,node-name=n,size=0x1000 -blockdev raw,node-name=r,file=n",
  );
  assertObjectMatch(blockNodes[0]!, { driver: "null-co", size: 4096 });
  assertObjectMatch(blockNodes[1]!, { driver: "raw", file: "n" });
});

Deno.test("tap takes an interface or descriptors", () => {
  const source = (text: string) => {
    const [netdev] = parse(`-netdev tap,id=n,${text}`).netdevs;
    return netdev?.type === "tap" ? netdev.source : undefined;
  };
  assertEquals(source("ifname=tap0,script=no,downscript=no"), {
    kind: "interface",
    name: "tap0",
    queues: 1,
    script: undefined,
    downscript: undefined,
  });
  assertEquals(source("queues=2"), {
    kind: "interface",
    queues: 2,
    script: "/etc/qemu-ifup",
    downscript: "/etc/qemu-ifdown",
  });
  assertEquals(source("fds=3:4"), { kind: "descriptors", names: ["3", "4"] });
});

Deno.test("stream and dgram backends, and the older spellings of both", () => {
  const netdev = (text: string) => {
    const { id: _, ...rest } = parse(`-netdev ${text}`).netdevs[0]!;
    return rest;
  };
  const inet = { kind: "inet", host: "h", port: "1" } as const;
  assertEquals(netdev("stream,id=n,addr.type=unix,addr.path=/p,reconnect-ms=5"), {
    type: "stream",
    server: false,
    address: { kind: "unix", path: "/p", abstract: false },
    reconnectMs: 5,
  });
  assertEquals(
    netdev("socket,id=n,connect=h:1"),
    netdev('{"type":"stream","id":"n","addr":{"type":"inet","host":"h","port":"1"}}'),
  );
  assertObjectMatch(netdev("socket,id=n,listen=:1"), { server: true, address: { host: "" } });
  assertEquals(netdev("socket,id=n,udp=h:1,localaddr=h:1"), {
    type: "dgram",
    local: inet,
    remote: inet,
  });
  assertEquals(netdev("dgram,id=n,local.type=fd,local.str=5"), {
    type: "dgram",
    local: { kind: "fd", name: "5" },
  });
});

Deno.test("devices have all their properties, typed", () => {
  const { devices } = parse(
    "-object iothread,id=io -drive file=x,format=raw,if=none,id=d " +
      "-device virtio-blk-device,drive=d,iothread=io,num-queues=2,serial=s,id=disk,bus=virtio-mmio-bus.7",
  );
  const [device] = devices;
  assertObjectMatch(device!, {
    driver: "virtio-blk-device",
    id: "disk",
    bus: "virtio-mmio-bus.7",
    properties: {
      drive: "d",
      iothread: "io",
      "num-queues": 2,
      serial: "s",
      event_idx: true,
      "queue-size": 256,
      werror: "auto",
    },
  });
});

Deno.test("-global changes the defaults of a model or of all virtio devices", () => {
  const { devices } = parse(
    "-global virtio-device.event_idx=off -global virtio-net-device.mrg_rxbuf=off " +
      '-device {"driver":"virtio-net-device","mac":"52:54:00:12:34:56","event_idx":true} ' +
      "-device virtio-rng-device",
  );
  assertObjectMatch(devices[0]!.properties, { event_idx: true, mrg_rxbuf: false });
  assertObjectMatch(devices[1]!.properties, { event_idx: false });
});

Deno.test("ports belong to the virtio-serial device before them", () => {
  const { devices } = parse(
    "-chardev null,id=c -device virtio-serial-device,id=s -device virtconsole,chardev=c " +
      "-device virtserialport,bus=s.0,name=org.qemu.guest_agent.0",
  );
  assertEquals(devices.map(({ driver }) => driver), [
    "virtio-serial-device",
    "virtconsole",
    "virtserialport",
  ]);
});

Deno.test("-global for what there is not is reported, not dropped in silence", () => {
  assertEquals(parse("-global e1000.mac=x").warnings, [
    "warning: global e1000.mac has invalid class name",
  ]);
  assertEquals(
    parse("-global migration.x-events=on -global driver=migration,property=p,value=v,,w").globals,
    [
      { driver: "migration", property: "x-events", value: "on" },
      { driver: "migration", property: "p", value: "v,w" },
    ],
  );
});
