import { assertEquals, assertThrows } from "@std/assert";
import {
  cprExecState,
  cprTransferState,
  decodeCprState,
  encodeCprState,
} from "../../src/migration/cpr/state_description.ts";
import { OutOfDataError, VmStateError } from "../../src/vmstate/vmstate.ts";
import { fixture } from "./fixtures.ts";

Deno.test("cpr-exec: the memfd lists descriptors by name and number", async () => {
  const bytes = await fixture("cpr-exec.memfd");
  const state = decodeCprState(cprExecState, bytes);
  assertEquals(
    state.fds.map((entry) => [entry.name, entry.id]).sort(),
    [
      ["/rom@etc/acpi/rsdp", 0],
      ["/rom@etc/acpi/tables", 0],
      ["/rom@etc/table-loader", 0],
      ["pc.bios", 0],
      ["ram0", 0],
    ],
  );
  for (const entry of state.fds) assertEquals(Number.isInteger(entry.fd) && entry.fd > 2, true);
  assertEquals(encodeCprState(cprExecState, state), bytes);
});

Deno.test("cpr-transfer: each entry has a byte that a descriptor came with", async () => {
  const bytes = await fixture("cpr-transfer.cpr");
  const state = decodeCprState(cprTransferState, bytes);
  assertEquals(state.fds.map((entry) => entry.name), [
    "/rom@etc/acpi/rsdp",
    "/rom@etc/acpi/tables",
    "pc.bios",
    "/rom@etc/table-loader",
    "ram0",
  ]);
  assertEquals(state.vfioDevices, []);
  assertEquals(encodeCprState(cprTransferState, state), bytes);
});

Deno.test("cpr-transfer: without the subsection the state ends where the bytes do", async () => {
  const bytes = (await fixture("cpr-transfer.cpr")).slice(0, 0x86);
  assertEquals(decodeCprState(cprTransferState, bytes).vfioDevices, undefined);
  assertThrows(() => decodeCprState(cprTransferState, bytes, false), OutOfDataError);
});

Deno.test("CPR state is refused in QEMU's words", async () => {
  const bytes = await fixture("cpr-transfer.cpr");
  const altered = (offset: number, value: number) => {
    const copy = bytes.slice();
    copy[offset] = value;
    return copy;
  };
  const refused = (copy: Uint8Array) =>
    assertThrows(() => decodeCprState(cprTransferState, copy), VmStateError).reason;
  assertEquals(refused(altered(0, 0x58)), "Not a migration stream (bad magic 58435052)");
  assertEquals(refused(altered(7, 2)), "Unsupported migration stream version 2");
  assertEquals(refused(altered(0x24, 88)), "cpr-in unexpected service byte: 88(X)");
  assertEquals(refused(altered(0x0c, 200)), "data ends 51 bytes too early");
  assertEquals(refused(altered(0x86, 6)), "something else follows the CPR state");
  assertEquals(refused(altered(0x09, 255)), "4278190099 items, at most 1024 are accepted");
});

Deno.test("CPR state that is cut off anywhere gives an error", async () => {
  const bytes = await fixture("cpr-exec.memfd");
  for (let length = 0; length < bytes.length; length++) {
    try {
      // The end of the list is where the state can end.
      assertEquals(decodeCprState(cprExecState, bytes.slice(0, length)).vfioDevices, undefined);
      assertEquals(bytes[length - 1], 0);
      assertEquals(length, bytes.length - 28);
    } catch (error) {
      if (!(error instanceof VmStateError)) throw error;
    }
  }
});
