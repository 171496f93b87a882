import { assertEquals, assertRejects } from "@std/assert";
import { connect, listen } from "../../../src/native/socket.ts";
import { TemporaryDirectory } from "../../support/temporary_directory.ts";

Deno.test("a listening socket takes the place of a socket, and of nothing else", async () => {
  using directory = new TemporaryDirectory();
  const path = directory.file("socket");
  const address = { kind: "unix", path } as const;
  (await listen(address))[Symbol.dispose]();
  using _again = await listen(address);
  using _client = await connect(address);

  Deno.removeSync(path);
  Deno.writeTextFileSync(path, "a disk image");
  await assertRejects(() => listen(address), Error, `Failed to bind socket to ${path}`);
  assertEquals(Deno.readTextFileSync(path), "a disk image");

  const link = directory.file("link");
  Deno.symlinkSync(path, link);
  await assertRejects(() => listen({ kind: "unix", path: link }), Error, link);
  assertEquals(Deno.readLinkSync(link), path);
});

Deno.test("a socket's permissions follow the umask, and others can never write to it", async () => {
  using directory = new TemporaryDirectory();
  const before = Deno.umask();
  try {
    for (const [umask, mode] of [[0o077, 0o700], [0o022, 0o755], [0o002, 0o775], [0, 0o775]]) {
      Deno.umask(umask);
      const path = directory.file(`${umask}`);
      using _socket = await listen({ kind: "unix", path });
      assertEquals((Deno.statSync(path).mode ?? 0) & 0o777, mode);
    }
  } finally {
    Deno.umask(before);
  }
});
