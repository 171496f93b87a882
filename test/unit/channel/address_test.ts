import { assertEquals, assertThrows } from "@std/assert";
import {
  type ChannelAddress,
  channelAddress,
  checkTransport,
  parseUri,
} from "../../../src/channel/address.ts";
import { ChannelError } from "../../../src/channel/channel.ts";

const understood: readonly [uri: string, address: ChannelAddress][] = [
  ["tcp:127.0.0.1:4444", { kind: "inet", host: "127.0.0.1", port: "4444" }],
  ["tcp::4444", { kind: "inet", host: "", port: "4444" }],
  ["tcp:[::1]:0", { kind: "inet", host: "::1", port: "0" }],
  ["tcp:host:4444,to=4450,ipv4", {
    kind: "inet",
    host: "host",
    port: "4444",
    to: 4450,
    ipv4: true,
  }],
  [
    "tcp:host:1,ipv6=off,keep-alive=on,keep-alive-idle=7",
    { kind: "inet", host: "host", port: "1", ipv6: false, keepAlive: { on: true, idle: 7 } },
  ],
  ["unix:/a b,c=d", { kind: "unix", path: "/a b,c=d", abstract: false }],
  ["fd:mig", { kind: "descriptor", name: "mig" }],
  ["exec:gzip -c > 'x'", { kind: "exec", command: ["/bin/sh", "-c", "gzip -c > 'x'"] }],
  ["file:/x", { kind: "file", path: "/x", offset: 0 }],
  ["file:/x,y=1", { kind: "file", path: "/x,y=1", offset: 0 }],
  ["file:/x,offset=0x1000", { kind: "file", path: "/x", offset: 4096 }],
  ["file:/x,offset=4k", { kind: "file", path: "/x", offset: 4096 }],
  ["file:/x,offset=1.5M", { kind: "file", path: "/x", offset: 1.5 * 2 ** 20 }],
];

for (const [uri, address] of understood) {
  Deno.test(`${uri} is understood`, () => assertEquals(parseUri(uri), address));
}

const refused: readonly [uri: string, message: string][] = [
  ["", "unknown migration protocol: "],
  ["bogus:x", "unknown migration protocol: bogus:x"],
  ["tcp", "unknown migration protocol: tcp"],
  ["tcp:", "error parsing address ''"],
  ["tcp:127.0.0.1", "error parsing address '127.0.0.1'"],
  ["tcp:127.0.0.1:", "error parsing address '127.0.0.1:'"],
  ["tcp:[::1:1", "error parsing IPv6 address '[::1:1'"],
  ["tcp:a:1,bogus", "Invalid parameter 'bogus'"],
  ["tcp:a:1,ipv4=maybe", "Parameter 'ipv4' expects 'on' or 'off'"],
  ["tcp:a:1,to=x", "Parameter 'to' expects a number"],
  ["unix:", "invalid Unix socket address"],
  ["fd:", "invalid file descriptor address"],
  ["file:/x,offset=", "file URI has bad offset : Invalid argument"],
  ["file:/x,offset=xyz", "file URI has bad offset xyz: Invalid argument"],
  ["file:/x,offset=-1", "file URI has bad offset -1: Numerical result out of range"],
  ["file:/x,offset=1,offset=2", "file URI has bad offset 1,offset=2: Invalid argument"],
  ["vsock:2:1", "vsock:2:1: use a unix or tcp socket"],
];

for (const [uri, message] of refused) {
  Deno.test(`'${uri}' is refused in QEMU's words`, () => {
    const error = assertThrows(() => parseUri(uri), ChannelError);
    assertEquals(error.message, message);
  });
}

Deno.test("structured addresses mean the same as URIs", () => {
  assertEquals(
    channelAddress({ transport: "socket", type: "inet", host: "::1", port: "5" }),
    parseUri("tcp:[::1]:5"),
  );
  assertEquals(
    channelAddress({ transport: "socket", type: "unix", path: "/s" }),
    parseUri("unix:/s"),
  );
  assertEquals(
    channelAddress({ transport: "socket", type: "fd", str: "7" }),
    parseUri("fd:7"),
  );
  assertEquals(
    channelAddress({ transport: "file", filename: "/f", offset: 12 }),
    parseUri("file:/f,offset=12"),
  );
  assertEquals(
    channelAddress({ transport: "exec", args: ["/bin/sh", "-c", "cat"] }),
    parseUri("exec:cat"),
  );
  assertThrows(() => channelAddress({ transport: "exec", args: [] }), ChannelError);
});

Deno.test("what a transport cannot do is said in QEMU's words, with what asks for it", () => {
  const said = (uri: string, needs: Parameters<typeof checkTransport>[1]) => {
    try {
      checkTransport(parseUri(uri), needs);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  };
  const seekable =
    "Migration requires seekable transport (e.g. file): the capability 'mapped-ram' is on";
  const several =
    "Migration requires multi-channel URIs (e.g. tcp): the capability 'multifd' is on";
  const direct =
    "Migration requires a transport that allows for extra fds (e.g. file): the parameter 'direct-io' is on";
  assertEquals(said("file:/x", { seekable: true, extraDescriptors: true }), undefined);
  for (const uri of ["tcp:a:1", "unix:/s", "fd:a", "exec:cat"]) {
    assertEquals(said(uri, { seekable: true }), seekable);
    assertEquals(said(uri, { extraDescriptors: true }), direct);
    assertEquals(said(uri, { streamable: true }), undefined);
  }
  assertEquals(said("file:/x", { severalChannels: true }), several);
  assertEquals(said("exec:cat", { severalChannels: true }), several);
  assertEquals(said("fd:a", { severalChannels: true }), several);
  assertEquals(said("tcp:a:1", { severalChannels: true }), undefined);
  assertEquals(said("unix:/s", { severalChannels: true }), undefined);
  assertEquals(
    said("file:/x", { streamable: true }),
    "Migration requires streamable transport (eg unix): the parameter 'mode' is 'cpr-transfer'",
  );
});
