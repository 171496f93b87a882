import { assertEquals } from "@std/assert";
import type { CpuRegisters } from "../../../../src/monitor/context.ts";
import { describePageTables } from "../../../../src/monitor/hmp/page_tables.ts";
import { MonitorBench } from "../bench.ts";

const PRESENT = 1n;
const WRITABLE = 2n;
const USER = 4n;
const LARGE = 0x80n;

/** 64 KiB of memory in which tables can be built. */
class Tables {
  readonly #bytes = new Uint8Array(65536);
  readonly #view = new DataView(this.#bytes.buffer);

  set64(table: number, index: number, entry: bigint): void {
    this.#view.setBigUint64(table + 8 * index, entry, true);
  }

  set32(table: number, index: number, entry: bigint): void {
    this.#view.setUint32(table + 4 * index, Number(entry), true);
  }

  readonly read = (address: number, length: number) =>
    address + length <= this.#bytes.length
      ? this.#bytes.slice(address, address + length)
      : undefined;
}

/** A vCPU that pages with the table at `cr3`. */
async function paging(mode: "32-bit" | "PAE" | "long", cr3: bigint): Promise<CpuRegisters> {
  await using bench = new MonitorBench();
  const cr4 = mode === "32-bit" ? 0x10n : 0x20n;
  const efer = mode === "long" ? 0x500n : 0n;
  return { ...bench.context.cpus.registers(0), cr0: 0x80000011n, cr3, cr4, efer };
}

Deno.test("without paging there is nothing to show", async () => {
  const registers = { ...await paging("32-bit", 0n), cr0: 0x11n };
  assertEquals(describePageTables(registers, () => undefined), "PG disabled\n");
});

Deno.test("long mode: pages of every size, rights of all levels, neighbours joined", async () => {
  const tables = new Tables();
  const all = PRESENT | WRITABLE | USER;
  tables.set64(0x1000, 0, 0x2000n | all);
  tables.set64(0x1000, 256, 0x2000n | PRESENT);
  tables.set64(0x2000, 0, 0x3000n | all);
  tables.set64(0x2000, 1, LARGE | all);
  tables.set64(0x3000, 0, 0x4000n | all);
  tables.set64(0x3000, 1, LARGE | all);
  for (const index of [1, 2, 3]) tables.set64(0x4000, index, 0x5000n | all);
  tables.set64(0x4000, 3, 0x5000n | PRESENT | USER);
  assertEquals(
    describePageTables(await paging("long", 0x1000n), tables.read),
    "0000000000001000-0000000000003000 0000000000002000 urw\n" +
      "0000000000003000-0000000000004000 0000000000001000 ur-\n" +
      "0000000000200000-0000000000400000 0000000000200000 urw\n" +
      "0000000040000000-0000000080000000 0000000040000000 urw\n" +
      "ffff800000001000-ffff800000004000 0000000000003000 -r-\n" +
      "ffff800000200000-ffff800000400000 0000000000200000 -r-\n" +
      "ffff800040000000-ffff800080000000 0000000040000000 -r-\n",
  );
});

Deno.test("32-bit and PAE tables", async () => {
  const tables = new Tables();
  tables.set32(0x1000, 0, 0x2000n | PRESENT | WRITABLE | USER);
  tables.set32(0x1000, 1, LARGE | PRESENT);
  tables.set32(0x2000, 5, PRESENT | WRITABLE);
  assertEquals(
    describePageTables(await paging("32-bit", 0x1000n), tables.read),
    "00005000-00006000 00001000 -rw\n00400000-00800000 00400000 -r-\n",
  );
  tables.set64(0x3020, 3, 0x4000n | PRESENT);
  tables.set64(0x4000, 511, LARGE | PRESENT | WRITABLE | USER);
  assertEquals(
    describePageTables(await paging("PAE", 0x3020n), tables.read),
    "ffe00000-100000000 00200000 urw\n",
  );
});

Deno.test("tables that point to themselves or nowhere end", async () => {
  const tables = new Tables();
  tables.set64(0x1000, 0, 0xffff_ffff_f000n | PRESENT);
  assertEquals(describePageTables(await paging("long", 0x1000n), tables.read), "");
  const loop = new Tables();
  for (let index = 0; index < 512; index++) loop.set64(0x1000, index, 0x1000n | PRESENT);
  assertEquals(describePageTables(await paging("long", 0x1000n), loop.read).length > 0, true);
});
