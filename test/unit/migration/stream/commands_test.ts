import { assertEquals, assertThrows } from "@std/assert";
import {
  type Command,
  readCommand,
  writeCommand,
} from "../../../../src/migration/stream/commands.ts";
import { StreamErrno, StreamError } from "../../../../src/migration/stream/errors.ts";
import { OutOfDataError, StateReader, StateWriter } from "../../../../src/vmstate/vmstate.ts";

function encode(command: Command): Uint8Array {
  const writer = new StateWriter();
  writeCommand(writer, command);
  return writer.bytes;
}

const commands: Command[] = [
  { name: "OPEN_RETURN_PATH" },
  { name: "PING", value: 0x42 },
  { name: "POSTCOPY_ADVISE" },
  { name: "POSTCOPY_ADVISE", pageSizes: 0x201000n, targetPageSize: 0x1000n },
  { name: "POSTCOPY_LISTEN" },
  { name: "POSTCOPY_RUN" },
  { name: "POSTCOPY_RAM_DISCARD", block: "ram0", ranges: [{ start: 4096n, length: 8192n }] },
  { name: "POSTCOPY_RAM_DISCARD", block: "ram0", ranges: [] },
  { name: "PACKAGED", length: 70000 },
  { name: "ENABLE_COLO" },
  { name: "POSTCOPY_RESUME" },
  { name: "RECV_BITMAP", block: "pc.bios" },
  { name: "SWITCHOVER_START" },
];

for (const command of commands) {
  Deno.test(`${command.name} is read as it was written`, () => {
    const bytes = encode(command);
    const reader = new StateReader(bytes);
    assertEquals(readCommand(reader), command);
    assertEquals(reader.remaining, 0);
    for (let length = 0; length < bytes.length; length++) {
      assertThrows(() => readCommand(new StateReader(bytes.subarray(0, length))), OutOfDataError);
    }
  });
}

Deno.test("a payload that does not fit its command is refused", () => {
  const refused = (...bytes: number[]) =>
    assertThrows(() => readCommand(new StateReader(Uint8Array.from(bytes))), StreamError);
  const ping = refused(0, 2, 0, 3, 0, 0, 0);
  assertEquals(ping.reason, "PING received with bad length - expecting 4, got 3");
  assertEquals(ping.errno, StreamErrno.ERANGE);
  assertEquals(refused(0, 0x63, 0, 0).reason, "MIG_CMD 0x63 unknown (len 0x0)");
  assertEquals(refused(0, 0, 0, 0).reason, "MIG_CMD 0x0 unknown (len 0x0)");
  // Discard: another format, a name beyond the payload, no NUL, half a range.
  refused(0, 6, 0, 3, 1, 0, 0);
  refused(0, 6, 0, 3, 0, 200, 0);
  refused(0, 6, 0, 3, 0, 1, 0x41);
  refused(0, 6, 0, 5, 0, 1, 0x41, 0, 9);
  refused(0, 10, 0, 2, 9, 0x41);
  refused(0, 3, 0, 1, 9);
});
