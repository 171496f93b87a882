import { assertEquals, assertThrows } from "@std/assert";
import {
  chardevFromProperties,
  ChardevOptionError,
  parseLegacyChardev,
} from "../../../src/backends/chardev_options.ts";
import type { ChardevOptions } from "../../../src/configuration/chardev.ts";

const common = { logappend: false, mux: false, cpr: false } as const;

function fromText(text: string): ChardevOptions {
  const properties = text.split(",").map((item, index) => {
    const [name = "", value] = item.split("=");
    return value === undefined && index === 0
      ? ["backend", name] as const
      : [name, value ?? ""] as const;
  });
  return chardevFromProperties(new Map(properties));
}

Deno.test("-chardev properties become typed options with QEMU's defaults", () => {
  const cases: [string, ChardevOptions["backend"]][] = [
    ["null", { kind: "null" }],
    ["file,path=/x", { kind: "file", path: "/x", append: false }],
    ["file,path=/x,append=on,input-path=/y", {
      kind: "file",
      path: "/x",
      append: true,
      inputPath: "/y",
    }],
    ["stdio", { kind: "stdio", signal: true }],
    ["pty", { kind: "pty" }],
    ["pipe,path=/p", { kind: "pipe", path: "/p" }],
    ["ringbuf", { kind: "ringbuf", size: 65536 }],
    ["ringbuf,size=4k", { kind: "ringbuf", size: 4096 }],
    ["fd,fd=9", { kind: "fd", fd: 9 }],
    ["mux,chardev=base", { kind: "mux", chardev: "base" }],
    ["socket,path=/s,server=on", {
      kind: "socket",
      address: { kind: "unix", path: "/s", abstract: false },
      role: { kind: "server", wait: true },
    }],
    ["socket,path=/s,server=on,wait=off,abstract=on", {
      kind: "socket",
      address: { kind: "unix", path: "/s", abstract: true },
      role: { kind: "server", wait: false },
    }],
    ["socket,host=localhost,port=4444,reconnect-ms=250", {
      kind: "socket",
      address: { kind: "inet", host: "localhost", port: "4444" },
      role: { kind: "client", reconnectMs: 250 },
    }],
    ["socket,fd=7,server=on,wait=off", {
      kind: "socket",
      address: { kind: "fd", fd: 7 },
      role: { kind: "server", wait: false },
    }],
  ];
  for (const [text, backend] of cases) {
    assertEquals(fromText(`${text},id=a`), { id: "a", backend, ...common }, text);
  }
  assertEquals(fromText("null,id=a,logfile=/l,logappend=on,mux=on,cpr=on"), {
    id: "a",
    backend: { kind: "null" },
    logfile: "/l",
    logappend: true,
    mux: true,
    cpr: true,
  });
});

Deno.test("wrong -chardev properties are refused in QEMU's words", () => {
  const cases: [string, string][] = [
    ["null", "chardev: no id specified"],
    ["null,id=1a", "Parameter 'id' expects an identifier"],
    ["foo,id=a", "'foo' is not a valid char driver name"],
    ["null,id=a,bogus=1", "Invalid parameter 'bogus'"],
    ["null,id=a,mux=maybe", "Parameter 'mux' expects 'on' or 'off'"],
    ["file,id=a", "chardev: file: no filename given"],
    ["pipe,id=a", "chardev: pipe: no device path given"],
    ["mux,id=a", "chardev: mux: no chardev given"],
    ["socket,id=a", "Unable to parse FD number "],
    ["socket,id=a,fd=abc", "Unable to parse FD number abc"],
    ["socket,id=a,host=foo", "chardev: socket: no port given"],
    [
      "socket,id=a,path=/x,host=h,port=1",
      "None or one of 'path', 'fd' or 'host' option required.",
    ],
    [
      "socket,id=a,path=/x,wait=on",
      "'wait' option is incompatible with socket in client connect mode",
    ],
    [
      "socket,id=a,path=/x,server=on,reconnect-ms=1",
      "'reconnect-ms' option is incompatible with socket in server listen mode",
    ],
    ["socket,id=a,path=/x,reconnect-ms=x", "Parameter 'reconnect-ms' expects a number"],
    ["ringbuf,id=a,size=3", "size of ringbuf chardev must be power of two"],
    ["ringbuf,id=a,size=xx", "Parameter 'size' expects a non-negative number below 2^64"],
  ];
  for (const [text, message] of cases) {
    assertEquals(assertThrows(() => fromText(text), ChardevOptionError).message, message, text);
  }
  assertEquals(
    assertThrows(() => chardevFromProperties(new Map([["id", "a"]])), ChardevOptionError).message,
    'chardev: "a" missing backend',
  );
});

Deno.test("what molt does not have is refused by name, with something to use instead", () => {
  for (
    const text of [
      "udp,id=a,port=1",
      "serial,id=a,path=/dev/ttyS0",
      "vc,id=a",
      "socket,id=a,path=/x,telnet=on",
      "socket,id=a,path=/x,websocket=on",
      "socket,id=a,host=h,port=1,ipv6=on",
      "socket,id=a,path=/x,tight=off",
    ]
  ) {
    const { message } = assertThrows(() => fromText(text), ChardevOptionError);
    const [, name] = /'([a-z0-9]+)'/.exec(message) ?? [];
    assertEquals(text.includes(name ?? "?"), true, `${text}: ${message}`);
  }
});

Deno.test("the short spellings of -serial and -monitor stand for the same options", () => {
  const cases: [string, string][] = [
    ["stdio", "stdio,id=serial0"],
    ["null", "null,id=serial0"],
    ["pty", "pty,id=serial0"],
    ["file:/a/b", "file,id=serial0,path=/a/b"],
    ["pipe:/a/b", "pipe,id=serial0,path=/a/b"],
    ["fd:12", "fd,id=serial0,fd=12"],
    ["unix:/s", "socket,id=serial0,path=/s"],
    ["unix:/s,server=on,wait=off", "socket,id=serial0,path=/s,server=on,wait=off"],
    ["unix:/s,server,nowait", "socket,id=serial0,path=/s,server=on,wait=off"],
    ["tcp:h:1", "socket,id=serial0,host=h,port=1"],
    ["tcp::1,server,nowait", "socket,id=serial0,host=,port=1,server=on,wait=off"],
    ["mon:stdio", "stdio,id=serial0,mux=on,signal=off"],
    ["mon:unix:/s,server=on", "socket,id=serial0,mux=on,path=/s,server=on"],
  ];
  for (const [text, long] of cases) {
    assertEquals(parseLegacyChardev(text, "serial0"), {
      kind: "create",
      options: fromText(long),
      monitor: text.startsWith("mon:"),
    }, text);
  }
  assertEquals(parseLegacyChardev("none", "serial0"), { kind: "none" });
  assertEquals(parseLegacyChardev("chardev:x", "serial0"), { kind: "chardev", id: "x" });
  const escaped = parseLegacyChardev("unix:/a,,b,server=on", "serial0");
  assertEquals(
    escaped.kind === "create" && escaped.options.backend.kind === "socket" &&
      escaped.options.backend.address,
    { kind: "unix", path: "/a,b", abstract: false },
  );
});

Deno.test("short spellings that mean nothing are refused", () => {
  const cases: [string, string][] = [
    ["foo", "'foo' is not a valid char driver"],
    ["", "'' is not a valid char driver"],
    ["mon:foo", "'foo' is not a valid char driver"],
    ["fd:x", "'fd:x' is not a valid char driver"],
    ["tcp:foo", "'tcp:foo' does not name a host and a port (tcp:HOST:PORT)"],
    ["unix:", "Unable to parse FD number "],
    ["unix:/s,server=maybe", "Parameter 'server' expects 'on' or 'off'"],
    ["tcp:h:1,bogus=1", "Invalid parameter 'bogus'"],
  ];
  for (const [text, message] of cases) {
    const thrown = assertThrows(() => parseLegacyChardev(text, "serial0"), ChardevOptionError);
    assertEquals(thrown.message, message, text);
  }
});
