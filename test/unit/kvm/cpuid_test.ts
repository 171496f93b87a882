import { assertEquals } from "@std/assert";
import { guestCpuid, missingFeatures } from "../../../src/kvm/cpuid.ts";
import type { CpuidEntry } from "../../../src/kvm/kvm.ts";

const AMD = { ebx: 0x68747541, edx: 0x69746e65, ecx: 0x444d4163 };
const INTEL = { ebx: 0x756e6547, edx: 0x49656e69, ecx: 0x6c65746e };

function entry(leaf: number, words: Partial<CpuidEntry>): CpuidEntry {
  return { function: leaf, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0, ...words };
}

/** A host with MMX, SSE3 and AVX2. */
function host(vendor: typeof AMD): CpuidEntry[] {
  return [
    entry(0, vendor),
    entry(1, { ecx: 1, edx: 1 << 23 }),
    entry(7, { ebx: 1 << 5, flags: 1 }),
    entry(0x80000001, { edx: 1 << 23 }),
  ];
}

function guest(supported: CpuidEntry[], flags: Record<string, boolean>) {
  const options = { cpus: 1, flags: new Map(Object.entries(flags)), tscDeadline: true };
  const table = guestCpuid(supported, options, 0);
  return (leaf: number) => table.find((found) => found.function === leaf) ?? entry(leaf, {});
}

Deno.test("features go off by name", () => {
  const leaf = guest(host(INTEL), { "pni": false, "avx2": false });
  assertEquals(leaf(1).ecx & 1, 0);
  assertEquals(leaf(7).ebx & (1 << 5), 0);
});

Deno.test("an AMD processor's copy of a feature goes off with it", () => {
  assertEquals(guest(host(AMD), { mmx: false })(0x80000001).edx & (1 << 23), 0);
  assertEquals(guest(host(INTEL), { mmx: false })(0x80000001).edx & (1 << 23), 1 << 23);
});

Deno.test("a feature that the host lacks stays off and is reported", () => {
  const supported = host(INTEL);
  assertEquals(guest(supported, { avx512f: true })(7).ebx & (1 << 16), 0);
  const flags = new Map([["avx512f", true], ["avx2", true], ["fma", false]]);
  assertEquals(missingFeatures(supported, flags), [
    "CPUID[eax=07h,ecx=00h].EBX.avx512f [bit 16]",
  ]);
});
