/** What machine this is, and what this program is. */
import * as z from "zod";
import { defineCommand } from "../command.ts";
import { empty, integer, struct } from "../../qapi/types.ts";
import { qemuVersion } from "../version.ts";

/** qapi/machine.json: CpuInstanceProperties, as far as x86 has them. */
const cpuProperties = struct({
  "socket-id": integer().optional(),
  "core-id": integer().optional(),
  "thread-id": integer().optional(),
});

const accelerator = z.enum(["hvf", "kvm", "mshv", "nvmm", "qtest", "tcg", "whpx", "xen"]);

const machineType = struct({
  name: z.string(),
  "cpu-max": integer(),
  "hotpluggable-cpus": z.boolean(),
  "numa-mem-supported": z.boolean(),
  deprecated: z.boolean(),
  "default-cpu-type": z.string().optional(),
  "default-ram-id": z.string().optional(),
  acpi: z.boolean(),
});

export const machineCommands = [
  defineCommand({
    name: "query-version",
    arguments: empty,
    returns: struct({
      qemu: struct({ major: integer(), minor: integer(), micro: integer() }),
      package: z.string(),
    }),
    run: ({ identity }) => ({ qemu: qemuVersion, package: identity.package }),
  }),
  defineCommand({
    name: "query-name",
    arguments: empty,
    returns: struct({ name: z.string().optional() }),
    run: ({ identity }) => ({ name: identity.name }),
  }),
  defineCommand({
    name: "query-uuid",
    arguments: empty,
    returns: struct({ UUID: z.string() }),
    run: ({ identity }) => ({ UUID: identity.uuid }),
  }),
  defineCommand({
    name: "query-target",
    arguments: empty,
    returns: struct({ arch: z.enum(["x86_64"]) }),
    run: () => ({ arch: "x86_64" as const }),
  }),
  defineCommand({
    name: "query-kvm",
    arguments: empty,
    returns: struct({ enabled: z.boolean(), present: z.boolean() }),
    run: ({ capabilities: { accelerators } }) => ({
      enabled: accelerators.enabled === "kvm",
      present: accelerators.present.includes("kvm"),
    }),
  }),
  defineCommand({
    name: "query-accelerators",
    arguments: empty,
    returns: struct({ enabled: accelerator, present: z.array(accelerator) }),
    run: ({ capabilities: { accelerators } }) => ({
      enabled: accelerator.parse(accelerators.enabled),
      present: accelerators.present.map((name) => accelerator.parse(name)),
    }),
  }),
  defineCommand({
    name: "query-machines",
    arguments: struct({ "compat-props": z.boolean().optional() }),
    returns: z.array(machineType),
    run: ({ capabilities }) =>
      capabilities.machineTypes.map((type) => ({
        name: type.name,
        "cpu-max": type.maximumCpus,
        "hotpluggable-cpus": false,
        "numa-mem-supported": false,
        deprecated: false,
        "default-ram-id": type.defaultRamId,
        acpi: type.acpi,
        ...(type.defaultCpuType === undefined ? {} : { "default-cpu-type": type.defaultCpuType }),
      })),
  }),
  defineCommand({
    name: "query-current-machine",
    arguments: empty,
    returns: struct({ "wakeup-suspend-support": z.boolean() }),
    run: () => ({ "wakeup-suspend-support": false }),
  }),
  defineCommand({
    name: "query-cpus-fast",
    arguments: empty,
    returns: z.array(struct({
      "cpu-index": integer(),
      "qom-type": z.string(),
      "qom-path": z.string(),
      "thread-id": integer(),
      props: cpuProperties.optional(),
      target: z.enum(["x86_64"]),
    })),
    run: ({ cpus }) =>
      cpus.list().map((cpu) => ({
        "cpu-index": cpu.index,
        "qom-type": cpu.type,
        "qom-path": cpu.path,
        "thread-id": cpu.threadId,
        props: { "socket-id": cpu.socketId, "core-id": cpu.coreId, "thread-id": cpu.smtId },
        target: "x86_64" as const,
      })),
  }),
  defineCommand({
    name: "query-hotpluggable-cpus",
    arguments: empty,
    returns: z.array(struct({
      type: z.string(),
      "vcpus-count": integer(),
      props: cpuProperties,
      "qom-path": z.string().optional(),
    })),
    run: () => {
      throw new Error("machine does not support hot-plugging CPUs");
    },
  }),
  defineCommand({
    name: "query-iothreads",
    arguments: empty,
    returns: z.array(struct({
      id: z.string(),
      "thread-id": integer(),
      "poll-max-ns": integer(),
      "poll-grow": integer(),
      "poll-shrink": integer(),
      "poll-weight": integer(),
      "aio-max-batch": integer(),
    })),
    run: ({ iothreads }) =>
      iothreads.map(({ id, threadId, pollMaxNs }) => ({
        id,
        "thread-id": threadId,
        "poll-max-ns": pollMaxNs,
        "poll-grow": 0,
        "poll-shrink": 0,
        "poll-weight": 0,
        "aio-max-batch": 0,
      })),
  }),
];
