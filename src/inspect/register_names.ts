/** QEMU saves a processor's registers as arrays: which register is which. */
import type { FieldTrace } from "../vmstate/vmstate.ts";
import type { DeviceDifference, ValueDifference } from "./compare.ts";

/** The order of `env.regs`, which is that of the instructions' encoding. */
const generalRegisters = [
  ...["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"],
  ...["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"],
];
const segmentRegisters = ["es", "cs", "ss", "ds", "fs", "gs"];
const REGISTER_SIZE = 8;

/** The register that a field of the device `cpu` is, or is a part of. */
function registerName(path: string): string | undefined {
  const general = /^env\.regs\[(\d+)\]$/.exec(path)?.[1];
  if (general !== undefined) return generalRegisters[Number(general)];
  if (path === "env.eip") return "rip";
  if (path === "env.eflags") return "rflags";
  const segment = /^env\.segs\[(\d+)\]\./.exec(path)?.[1];
  return segment === undefined ? undefined : segmentRegisters[Number(segment)];
}

/** What of a device differs, with registers by name. `section`: `cpu/0`. */
export function namedDifferences(
  { section, fields }: DeviceDifference,
): readonly ValueDifference[] {
  const device = section.slice(0, section.lastIndexOf("/"));
  return fields.map(({ name, a, b }) => ({ name: namedPath(device, name), a, b }));
}

/** The path with the register's name behind it: `env.regs[0] (rax)`. */
function namedPath(device: string, path: string): string {
  const register = device === "cpu" ? registerName(path) : undefined;
  return register === undefined ? path : `${path} (${register})`;
}

/** The fields of a device as they are shown: registers by name, and one by one. */
export function namedFields(
  { name, fields }: { readonly name: string; readonly fields: readonly FieldTrace[] },
): readonly FieldTrace[] {
  if (name !== "cpu") return fields;
  return fields.flatMap((field): FieldTrace[] => {
    const { path, value, offset, size } = field;
    const whole = Array.isArray(value) && size === value.length * REGISTER_SIZE;
    if (!whole || registerName(`${path}[0]`) === undefined) {
      return [{ ...field, path: namedPath(name, path) }];
    }
    return value.map((element, i) => ({
      ...field,
      path: namedPath(name, `${path}[${i}]`),
      offset: offset + i * REGISTER_SIZE,
      size: REGISTER_SIZE,
      value: element,
    }));
  });
}
