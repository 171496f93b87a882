/** What runs the CPUs: -accel, -cpu. */
import { InformationRequest } from "../information.ts";
import { OptionError } from "../../configuration/errors.ts";
import {
  choice,
  defaulting,
  describeProperties,
  integer,
  limited,
  onOffAuto,
  refused,
  text,
} from "../../configuration/property.ts";
import { readProperties } from "../property_reader.ts";
import type { TreeObject } from "../syntax.ts";
import { type Occurrence, type Option, type OptionGroup, readList, without } from "../option.ts";
import type {
  AcceleratorConfig,
  CpuConfig,
  CpuFeature,
  GlobalProperty,
  KvmConfig,
} from "../../configuration/machine.ts";
import type { MachineAccelerators } from "./machine.ts";

const noXen = "there is no Xen emulation";

const kvmProperties = {
  "kernel-irqchip": defaulting(
    limited(
      choice(["on", "off", "split"], "Configure KVM in-kernel irqchip"),
      ["on", "split"],
      "KVM does not support userspace APIC; use on or split",
    ),
    "on",
  ),
  "dirty-ring-size": defaulting(
    integer("uint32", "Size of KVM dirty page ring buffer, 0: use bitmap"),
    0,
  ),
  device: defaulting(text("Path to the device node to use"), "/dev/kvm"),
  "kvm-shadow-mem": refused("the kernel sizes its shadow MMU itself; leave it out"),
  "notify-vmexit": limited(
    choice(["run", "internal-error", "disable"], "Exits for guests that block the host's events"),
    ["disable"],
    "use disable",
  ),
  "notify-window": limited(integer("uint32"), [0], "use 0"),
  "honor-guest-pat": limited(onOffAuto(), ["auto", "off"], "use auto"),
  rapl: limited(choice(["on", "off"]), ["off"], "there are no energy counters; use off"),
  "rapl-helper-socket": refused("there are no energy counters"),
  "xen-version": refused(noXen),
  "xen-gnttab-max-frames": refused(noXen),
  "xen-evtchn-max-pirq": refused(noXen),
};

/** CPU models: everything the host has. */
export const cpuModels = [
  { name: "host", description: "processor with all supported host features" },
  { name: "max", description: "Enables all features supported by the accelerator" },
] as const;

interface GivenAccelerator {
  readonly name: string;
  readonly where: string;
  readonly properties: TreeObject;
}

export class AcceleratorOptions implements OptionGroup {
  readonly title = "Accelerator and CPU options";
  #accelerators: GivenAccelerator[] = [];
  #enableKvm = false;
  #cpu: string | undefined;

  readonly options: readonly Option[] = [
    {
      names: ["accel"],
      argument: "[accel=]accelerator[,prop=value[,...]]",
      help: [
        "select the accelerator: kvm, or qtest for tests; given several times, the first that works",
        "kernel-irqchip=on|split where interrupt controllers are (default=on)",
        "dirty-ring-size=n (KVM dirty ring GFN count, default 0)",
        "device=path (KVM device path, default /dev/kvm)",
      ],
      apply: (occurrence) => this.#accel(occurrence),
    },
    {
      names: ["enable-kvm"],
      help: ["as -machine accel=kvm"],
      apply: () => {
        this.#enableKvm = true;
      },
    },
    {
      names: ["cpu"],
      argument: "cpu[,+feature][,-feature][,feature=on|off][,...]",
      help: ["select the CPU model ('-cpu help' for a list; default=host)"],
      apply: ({ argument }) => {
        if (argument === "help" || argument === "?") {
          const lines = cpuModels.map(({ name, description }) =>
            `  ${name.padEnd(20)}  ${description}`
          );
          throw new InformationRequest(["Available CPUs:", ...lines].join("\n"));
        }
        this.#cpu = argument;
      },
    },
  ];

  #accel(occurrence: Occurrence): void {
    const { values, help } = readList(occurrence, "accel");
    const name = values["accel"];
    if (name === "help" || name === "?" || help && name === undefined) {
      throw new InformationRequest("Accelerators supported in QEMU binary:\nkvm\nqtest");
    }
    if (help && name === "kvm") {
      throw new InformationRequest(`${name}-accel options:\n${describeProperties(kvmProperties)}`);
    }
    if (name === undefined) {
      throw new OptionError(`${occurrence.where}No accelerator specified`);
    }
    this.#accelerators.push({
      name,
      where: occurrence.where,
      properties: without(values, "accel", "help", "?"),
    });
  }

  /** The accelerators to try, in order. */
  accelerators(machine: MachineAccelerators): readonly AcceleratorConfig[] {
    const named = machine.names ?? (this.#enableKvm ? "kvm" : undefined);
    if (named !== undefined && this.#accelerators.length > 0) {
      throw new OptionError('The -accel and "-machine accel=" options are incompatible');
    }
    const given = named === undefined && this.#accelerators.length > 0
      ? this.#accelerators
      : (named ?? "kvm").split(":").map((name) => ({ name, where: "", properties: {} }));
    const configs = given.map((accelerator) => configure(accelerator, machine));
    if (configs.every(({ kind }) => kind === "unavailable")) {
      const { where, name } = given[0] ?? { where: "", name: "" };
      throw new OptionError(
        `${where}invalid accelerator ${name}`,
        "molt runs guests with KVM only: use '-accel kvm'",
      );
    }
    return configs;
  }

  /** The CPU model and its features; `globals` may set more for its class. */
  cpu(globals: readonly GlobalProperty[]): CpuConfig {
    const defaults = globals.filter(({ driver }) => isCpuClass(driver)).map((
      { property, value },
    ) => ({ kind: "property", name: property, value } as const));
    if (this.#cpu === undefined) return { model: "host", features: defaults };
    const [model = "", ...features] = this.#cpu.split(",");
    if (model === "") throw new OptionError("-cpu option cannot be empty");
    const known = cpuModels.find(({ name }) => name === model);
    if (known === undefined) {
      throw new OptionError(
        `unable to find CPU model '${model}'`,
        "molt gives guests the host's CPU: use '-cpu host' and turn features off with -name",
      );
    }
    return { model: known.name, features: [...defaults, ...features.map(parseFeature)] };
  }
}

/** Whether -global's `driver` is a class of the guest's CPUs. */
export function isCpuClass(driver: string): boolean {
  return /^(?:(?:host|max)-)?x86_64-cpu$/.test(driver);
}

function parseFeature(text: string): CpuFeature {
  // Older spellings have underscores.
  if (text.startsWith("+")) return { kind: "plus", name: text.slice(1).replaceAll("_", "-") };
  if (text.startsWith("-")) return { kind: "minus", name: text.slice(1).replaceAll("_", "-") };
  const equals = text.indexOf("=");
  if (equals < 0) return { kind: "property", name: text.replaceAll("_", "-"), value: "on" };
  return {
    kind: "property",
    name: text.slice(0, equals).replaceAll("_", "-"),
    value: text.slice(equals + 1),
  };
}

function configure(
  { name, where, properties }: GivenAccelerator,
  machine: MachineAccelerators,
): AcceleratorConfig {
  if (name === "qtest") return { kind: "qtest" };
  if (name !== "kvm") return { kind: "unavailable", name };
  const { kernelIrqchip } = machine;
  if (kernelIrqchip === undefined) return kvm(properties, where);
  const sugar = { "kernel-irqchip": kernelIrqchip };
  kvm(sugar, `can't apply global kvm-accel.kernel-irqchip=${kernelIrqchip}: `);
  return kvm({ ...sugar, ...properties }, where);
}

function kvm(properties: TreeObject, where: string): KvmConfig {
  const read = readProperties(
    kvmProperties,
    { dialect: "string", where, owner: "kvm-accel" },
    properties,
  );
  const dirtyRingSize = read["dirty-ring-size"];
  if ((dirtyRingSize & (dirtyRingSize - 1)) !== 0) {
    throw new OptionError(`${where}dirty-ring-size must be a power of two.`);
  }
  const kernelIrqchip = read["kernel-irqchip"] === "split" ? "split" : "on";
  return { kind: "kvm", kernelIrqchip, dirtyRingSize, device: read.device };
}
