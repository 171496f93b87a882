import { assertEquals, assertThrows } from "@std/assert";
import { formatQmpAddress, parseQmpAddress, QmpError } from "../../../src/qmp_client/mod.ts";

Deno.test("addresses are paths or ports, also as the value of a -qmp option", () => {
  const unix = (path: string) => ({ transport: "unix" as const, path });
  const tcp = (hostname: string, port: number) => ({ transport: "tcp" as const, hostname, port });
  assertEquals(parseQmpAddress("/run/vm/qmp.sock"), unix("/run/vm/qmp.sock"));
  assertEquals(parseQmpAddress("qmp.sock"), unix("qmp.sock"));
  assertEquals(parseQmpAddress("unix:a:1,server=on,wait=off"), unix("a:1"));
  assertEquals(parseQmpAddress("localhost:4444"), tcp("localhost", 4444));
  assertEquals(parseQmpAddress("tcp:10.0.0.1:4444,server=on"), tcp("10.0.0.1", 4444));
  assertEquals(parseQmpAddress("[::1]:4444"), tcp("::1", 4444));
  assertThrows(() => parseQmpAddress("host:70000"), QmpError, "port 70000 is above 65535");
  assertThrows(() => parseQmpAddress("unix:"), QmpError, "names no QMP server");
});

Deno.test("addresses are written as they are read", () => {
  for (const text of ["/run/qmp.sock", "localhost:4444", "[::1]:4444"]) {
    assertEquals(formatQmpAddress(parseQmpAddress(text)), text);
  }
});
