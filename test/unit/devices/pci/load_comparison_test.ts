/** Which bits of a function's configuration space a load compares follows from the masks. */
import { assertEquals, assertThrows } from "@std/assert";
import { rootPortSpace } from "../../../../src/devices/pci/root_port.ts";
import type { ConfigSpace } from "../../../../src/devices/pci/config_space.ts";
import { virtioPciKinds, virtioPciSpace } from "../../../../src/devices/virtio/pci_space.ts";
import { VmStateError } from "../../../../src/vmstate/vmstate.ts";

/**
 * Found with QEMU 11.1.3 by changing each byte of a stream: which bytes it refuses, and in parentheses
 * which bits of them; no parentheses mean all.
 */
const refused = {
  "virtio-rng-pci behind a port":
    "00-03, 06 (10), 08-0b, 0e, 14, 15 (0f), 20, 21 (3f), 34, 40-47, " +
    "48 (f0), 49 (7f), 4a (f0), 4b-4f, 50 (3f), 51, 54-68, 69 (7f), 6a-7f, 80 (fc), 81-cb, cd-cf, " +
    "dc-de, df (3f), e0-e7",
  "pcie-root-port": "00-03, 06 (10), 08-0b, 0e, 10, 11 (0f), 1c-1d (0f), 24 (0f), 26 (0f), 34, " +
    "40-4a, 4b (3f), 4c-5b, 5c (f0), 5d, 5e (f0), 5f-65, 68-6b, 6c (06), 6d (f0), 6e (a6), 6f, " +
    "70 (f8), 71-7b, 7c (df), 7d (7f), 7e-8f, 100-103, 104 (cf), 105 (0f), 107 (fc), 108 (cf), " +
    "109 (0f), 10b (fc), 10c (cf), 10d (0f), 10f (fc), 110 (3e), 111 (0e), 112-113, 114 (3e), " +
    "115 (0e), 116-117, 118 (bf), 119 (fa), 11a-12b, 12c (f8), 12d-12f, 130 (80), 131-132, " +
    "133 (07), 134-14d, 14e (a0), 14f",
};

const rng = () => virtioPciSpace(virtioPciKinds["virtio-rng-pci"], { form: "express", vectors: 2 });
const port = () => rootPortSpace({ slot: 1, port: 0, hotplug: true, occupied: false });

/** The compared bits of the first `length` bytes, written as above. */
function comparedBits(space: ConfigSpace, length: number): string {
  const hex = (value: number) => value.toString(16).padStart(2, "0");
  const ranges: { first: number; last: number; bits: number }[] = [];
  for (let at = 0; at < length; at++) {
    const bits = space.comparedBits(at);
    const range = ranges.at(-1);
    if (bits === 0) continue;
    if (range?.bits === bits && range.last === at - 1) range.last = at;
    else ranges.push({ first: at, last: at, bits });
  }
  return ranges.map(({ first, last, bits }) =>
    hex(first) + (last > first ? `-${hex(last)}` : "") + (bits === 0xff ? "" : ` (${hex(bits)})`)
  ).join(", ");
}

Deno.test("an endpoint's compared bits are those that QEMU compares", () => {
  assertEquals(comparedBits(rng(), 0x100), refused["virtio-rng-pci behind a port"]);
});

Deno.test("a root port's compared bits are those that QEMU compares", () => {
  assertEquals(comparedBits(port(), 0x150), refused["pcie-root-port"]);
});

Deno.test("a read-only byte that differs is refused in QEMU's words, and nothing is taken over", () => {
  const space = port();
  const saved = space.bytes.slice();
  saved[0x04] = 7;
  saved[0x6a] = 0x2a;
  const error = assertThrows(() => space.load(saved), VmStateError);
  assertEquals(
    error.reason,
    "get_pci_config_device: Bad config data: i=0x6a read: 2a device: a cmask: ff wmask: 0 w1cmask:0",
  );
  assertEquals(space.bytes[0x04], 0);
});

Deno.test("every bit that is not compared is taken over, every other is refused", () => {
  for (const make of [rng, port]) {
    const { size } = make();
    for (let at = 0; at < size; at++) {
      const space = make();
      for (let bit = 1; bit < 0x100; bit <<= 1) {
        const saved = space.bytes.slice();
        saved[at] = (saved[at] ?? 0) ^ bit;
        if (space.comparedBits(at) & bit) assertThrows(() => space.check(saved), VmStateError);
        else space.check(saved);
      }
    }
  }
});
