/** A vCPU's registers for people. */
import type { CpuRegisters, SegmentInfo } from "../context.ts";
import { hex } from "../human_readable.ts";

const generalNames = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"] as const;
const segmentNames = ["ES", "CS", "SS", "DS", "FS", "GS"] as const;

const EFER_LMA = 1n << 10n;
const CR0_PE = 1n;
const RFLAGS_VM = 1n << 17n;
const SEGMENT_LONG = 1 << 21;

/** True where the vCPU runs 64-bit code. */
function runsLongMode({ efer, segments }: CpuRegisters): boolean {
  return (efer & EFER_LMA) !== 0n && (segments.CS.flags & SEGMENT_LONG) !== 0;
}

/** The value of `name` as expressions write it (`rip`, `eax`, `cs`, `cs.base`). */
export function readRegister(registers: CpuRegisters, name: string): bigint | undefined {
  const wide = name.replace(/^e(?=..$)/, "r");
  const general = generalNames.findIndex((known) => known === wide);
  if (general >= 0) return registers.general[general];
  const numbered = /^r(8|9|1[0-5])$/.exec(name)?.[1];
  if (numbered !== undefined) return registers.general[Number(numbered)];
  if (wide === "rip") return registers.rip;
  if (name === "pc") return registers.rip + registers.segments.CS.base;
  if (name === "eflags" || name === "rflags") return registers.rflags;
  const [segment = "", part] = name.toUpperCase().split(".");
  const known = segmentNames.find((candidate) => candidate === segment);
  if (known === undefined) return undefined;
  const { selector, base, limit } = registers.segments[known];
  if (part === undefined) return BigInt(selector);
  return part === "BASE" ? base : part === "LIMIT" ? BigInt(limit) : undefined;
}

/** RFLAGS as the letters of the flags that are set. */
function describeFlags(rflags: bigint): string {
  const flags: [bit: bigint, letter: string][] = [
    [1n << 10n, "D"],
    [1n << 11n, "O"],
    [1n << 7n, "S"],
    [1n << 6n, "Z"],
    [1n << 4n, "A"],
    [1n << 2n, "P"],
    [1n << 0n, "C"],
  ];
  return flags.map(([bit, letter]) => (rflags & bit) === 0n ? "-" : letter).join("");
}

/** Names of system segment types by descriptor type, in legacy and in long mode. */
const systemSegments: Readonly<Record<number, readonly [legacy: string, long: string]>> = {
  1: ["TSS16-avl", "Reserved"],
  2: ["LDT", "LDT"],
  3: ["TSS16-busy", "Reserved"],
  9: ["TSS32-avl", "TSS64-avl"],
  11: ["TSS32-busy", "TSS64-busy"],
};

/** What a protected-mode segment is: `DPL=0 CS64 [-RA]`. */
function describeType({ flags }: SegmentInfo, long: boolean): string {
  const present = (flags & (1 << 15)) !== 0;
  if (!present) return "";
  const dpl = ` DPL=${(flags >>> 13) & 3} `;
  const type = (flags >>> 8) & 15;
  if ((flags & (1 << 12)) === 0) {
    return dpl + (systemSegments[type]?.[long ? 1 : 0] ?? "Reserved");
  }
  const bit = (mask: number, letter: string) => (type & mask) === 0 ? "-" : letter;
  const accessed = bit(1, "A");
  if ((type & 8) !== 0) {
    const width = (flags & SEGMENT_LONG) !== 0
      ? "CS64"
      : (flags & (1 << 22)) !== 0
      ? "CS32"
      : "CS16";
    return `${dpl}${width} [${bit(4, "C")}${bit(2, "R")}${accessed}]`;
  }
  const width = (flags & (1 << 22)) !== 0 || long ? "DS  " : "DS16";
  return `${dpl}${width} [${bit(4, "E")}${bit(2, "W")}${accessed}]`;
}

function describeSegment(name: string, segment: SegmentInfo, registers: CpuRegisters): string {
  const long = runsLongMode(registers);
  const real = (registers.cr0 & CR0_PE) === 0n || (registers.rflags & RFLAGS_VM) !== 0n;
  const base = hex(segment.base, long ? 16 : 8);
  const fields = [hex(segment.selector, 4), base, hex(segment.limit, 8), hex(segment.flags, 8)];
  return `${name.padEnd(3)}=${fields.join(" ")}${real ? "" : describeType(segment, long)}\n`;
}

/** The text of `info registers`, without the floating-point registers. */
export function describeRegisters(registers: CpuRegisters): string {
  const long = runsLongMode(registers);
  const digits = long ? 16 : 8;
  const letter = long ? "R" : "E";
  const order = [[0, 3, 1, 2], [6, 7, 5, 4], ...long ? [[8, 9, 10, 11], [12, 13, 14, 15]] : []];
  const nameOf = (index: number) =>
    index < 8 ? letter + (generalNames[index] ?? "").slice(1).toUpperCase() : `R${index}`;
  const general = order.map((row) =>
    row.map((index) => `${nameOf(index).padEnd(3)}=${hex(registers.general[index] ?? 0n, digits)}`)
      .join(" ")
  );
  const { segments, gdt, idt, debug } = registers;
  const privilege = (segments.SS.flags >>> 13) & 3;
  const table = ({ base, limit }: { base: bigint; limit: number }) =>
    `     ${hex(base, digits)} ${hex(limit, 8)}`;
  const lines = [
    ...general,
    `${letter}IP=${hex(registers.rip, digits)} ${letter}FL=${hex(registers.rflags, 8)} ` +
    `[${describeFlags(registers.rflags)}] CPL=${privilege} II=0 A20=1 SMM=0 ` +
    `HLT=${registers.halted ? 1 : 0}`,
  ].map((line) => `${line}\n`);
  for (const name of segmentNames) lines.push(describeSegment(name, segments[name], registers));
  lines.push(describeSegment("LDT", segments.LDT, registers));
  lines.push(describeSegment("TR", segments.TR, registers));
  lines.push(`GDT=${table(gdt)}\n`, `IDT=${table(idt)}\n`);
  const control = [["CR0", registers.cr0, 8], ["CR2", registers.cr2, digits], [
    "CR3",
    registers.cr3,
    digits,
  ], ["CR4", registers.cr4, 8]] as const;
  lines.push(
    `${control.map(([name, value, width]) => `${name}=${hex(value, width)}`).join(" ")}\n`,
  );
  const [dr0 = 0n, dr1 = 0n, dr2 = 0n, dr3 = 0n, dr6 = 0n, dr7 = 0n] = debug;
  const breakpoints = [dr0, dr1, dr2, dr3].map((value, index) => `DR${index}=${hex(value)} `);
  lines.push(`${breakpoints.join("")}\n`, `DR6=${hex(dr6)} DR7=${hex(dr7)}\n`);
  lines.push(`EFER=${hex(registers.efer)}\n`);
  return lines.join("");
}
