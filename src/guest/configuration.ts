/** What the command line says of the guest, in the form in which the board takes it. */
import { OptionError } from "../configuration/errors.ts";
import type { CpuConfig, MicrovmConfig } from "../configuration/machine.ts";
import type { VirtualMachineConfig } from "../configuration/virtual_machine.ts";
import { rtcStartTime } from "../devices/rtc.ts";
import type { FirmwareOptions } from "../machine/firmware_items.ts";
import { cpuidFeature } from "../kvm/cpuid_features.ts";
import { missingFeatures } from "../kvm/cpuid.ts";
import type { Kvm } from "../kvm/kvm.ts";
import type { OpenPath } from "../native/file.ts";
import { openToRead, readPath } from "../native/descriptor_path.ts";

/** The 16 bytes of a UUID in its text form. */
export function uuidBytes(uuid: string): Uint8Array<ArrayBuffer> {
  const digits = uuid.replaceAll("-", "");
  const bytes = new Uint8Array(16);
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16);
  }
  return bytes;
}

/** What the RTC shows at the start (-rtc base=), in seconds since 1970. */
export function rtcStart({ clock: { base } }: VirtualMachineConfig): number {
  return rtcStartTime(base.kind === "date" ? base.seconds : base.kind, Date.now() / 1000);
}

/** -bios: the file itself, or the one of that name in a directory of -L. */
export function findFirmware(
  name: string,
  directories: readonly string[],
  openPath: OpenPath,
): string {
  const places = [name, ...directories.map((directory) => `${directory}/${name}`)];
  return places.find((path) => canBeRead(path, openPath)) ?? name;
}

/** What firmware is given: -boot, -nographic, -fw_cfg. Files are read now. */
export function firmwareOptions(
  { boot, firmwareItems }: VirtualMachineConfig,
  machine: MicrovmConfig,
  openPath: OpenPath,
): FirmwareOptions {
  return {
    noGraphic: !machine.graphics,
    bootMenu: boot.menu ?? false,
    ...(boot.rebootTimeout === undefined ? {} : { rebootTimeout: boot.rebootTimeout }),
    files: firmwareItems.map(({ name, content }) => ({
      name,
      bytes: content.kind === "string"
        ? new TextEncoder().encode(content.text)
        : firmwareFile(name, content.path, openPath),
    })),
  };
}

function firmwareFile(name: string, path: string, openPath: OpenPath): Uint8Array {
  try {
    return readPath(openPath, path);
  } catch (cause) {
    throw new OptionError(`-fw_cfg ${name},file=${path}: can't load ${path}`, undefined, { cause });
  }
}

function canBeRead(path: string, openPath: OpenPath): boolean {
  try {
    using _ = openToRead(openPath, path);
    return true;
  } catch {
    return false;
  }
}

/** Properties of a CPU that are no features, with the values that are how things are here. */
const fixedProperties: ReadonlyMap<string, readonly string[]> = new Map([
  ["migratable", ["on"]],
  ["kvm", ["on"]],
  ["host-phys-bits", ["on"]],
  ["host-cache-info", ["off"]],
  ["l3-cache", ["on"]],
  ["kvm-no-smi-migration", ["off"]],
]);

/** -cpu's features, and what happens if the host lacks one. */
export interface CpuFlags {
  readonly features: ReadonlyMap<string, boolean>;
  /** Reports to the user. */
  readonly check: boolean;
  /** Refuse to start. */
  readonly enforce: boolean;
}

/** Reads -cpu's properties; `+name` and `-name` overrule `name=value`, as in QEMU. */
export function cpuFlags({ model, features }: CpuConfig): CpuFlags {
  const type = `${model}-x86_64-cpu`;
  const flags = new Map<string, boolean>();
  const how = { check: true, enforce: false };
  const inOrder = [
    ...features.filter(({ kind }) => kind === "property"),
    ...features.filter(({ kind }) => kind !== "property"),
  ];
  for (const feature of inOrder) {
    const { name } = feature;
    const value = feature.kind === "property"
      ? feature.value
      : feature.kind === "plus"
      ? "on"
      : "off";
    const where = feature.kind === "property"
      ? `can't apply global ${type}.${name}=${value}: `
      : "";
    const fixed = fixedProperties.get(name);
    if (fixed?.includes(value)) continue;
    if (fixed !== undefined) {
      throw new OptionError(`${where}'${name}=${value}' is not available: use '${name}=${fixed}'`);
    }
    const on = onOff(value);
    const known = name === "check" || name === "enforce" || cpuidFeature(name).length > 0;
    if (!known) throw new OptionError(`${where}Property '${type}.${name}' not found`);
    if (on === undefined) {
      throw new OptionError(`${where}Parameter '${name}' expects 'on' or 'off'`);
    }
    if (name === "check" || name === "enforce") how[name] = on;
    else flags.set(name, on);
  }
  return { features: flags, ...how };
}

function onOff(value: string): boolean | undefined {
  if (["on", "yes", "true", "y"].includes(value)) return true;
  return ["off", "no", "false", "n"].includes(value) ? false : undefined;
}

/** Reports features that were asked for and that the host lacks. Throws if they are required. */
export function checkCpuFlags(
  kvm: Kvm,
  { features, check, enforce }: CpuFlags,
  warn: (text: string) => void,
): void {
  if (features.size === 0 || !check && !enforce) return;
  const missing = missingFeatures(kvm.supportedCpuid(), features);
  for (const feature of missing) {
    warn(`warning: host doesn't support requested feature: ${feature}`);
  }
  if (enforce && missing.length > 0) throw new Error("Host doesn't support requested features");
}
