/** `info`: looking at the machine. */
import type { MemoryRegionInfo } from "../../context.ts";
import { describeRamBlocks, hex } from "../../human_readable.ts";
import { qemuVersionText } from "../../version.ts";
import { defineHumanCommand, describeCommand, type HumanCommand } from "../command.ts";
import { flag, optionalInteger } from "../parameters.ts";
import { describePageTables } from "../page_tables.ts";
import { describeRegisters } from "../registers.ts";

function describeRegion({ name, kind, start, length }: MemoryRegionInfo): string {
  return `  ${hex(start)}-${hex(start + length - 1)} (prio 0, ${kind}): ${name}\n`;
}

const subcommands: readonly HumanCommand[] = [
  defineHumanCommand({
    names: "accelerators",
    help: "show present and enabled information",
    parameters: {},
    run: ({ context: { capabilities: { accelerators } }, print }) => {
      const { enabled, present } = accelerators;
      print(`${present.map((name) => name === enabled ? `[${name}]` : name).join(" ")}\n`);
    },
  }),
  defineHumanCommand({
    names: "chardev",
    help: "show the character devices",
    parameters: {},
    run: ({ context, print }) => {
      for (const { label, filename } of context.chardevs.list()) {
        print(`${label}: filename=${filename}\n`);
      }
    },
  }),
  defineHumanCommand({
    names: "cpus",
    help: "show infos for each CPU",
    parameters: {},
    run: ({ context, state, print }) => {
      for (const { index, threadId, type } of context.cpus.list()) {
        const mark = index === state.cpu ? "*" : " ";
        const model = type.replace(/-x86_64-cpu$/, "");
        print(`${mark} CPU #${index}: thread_id=${threadId} model=${model}\n`);
      }
    },
  }),
  defineHumanCommand({
    names: "hotpluggable-cpus",
    help: "Show information about hotpluggable CPUs",
    parameters: {},
    run: () => {
      throw new Error("machine does not support hot-plugging CPUs");
    },
  }),
  defineHumanCommand({
    names: "iothreads",
    help: "show iothreads",
    parameters: {},
    run: ({ context, print }) => {
      for (const { id, threadId, pollMaxNs } of context.iothreads) {
        print(`${id}:\n  thread_id=${threadId}\n  poll-max-ns=${pollMaxNs}\n`);
      }
    },
  }),
  defineHumanCommand({
    names: "kvm",
    help: "show KVM information",
    parameters: {},
    run: ({ context: { capabilities: { accelerators } }, print }) =>
      print(`kvm support: ${accelerators.enabled === "kvm" ? "enabled" : "disabled"}\n`),
  }),
  defineHumanCommand({
    names: "mem",
    help: "show the active virtual memory mappings",
    parameters: {},
    run: ({ context: { cpus, memory }, state, print }) =>
      print(
        describePageTables(
          cpus.registers(state.cpu),
          (address, length) => memory.readPhysical(address, length),
        ),
      ),
  }),
  defineHumanCommand({
    names: "memdev",
    help: "show memory backends",
    parameters: {},
    run: ({ context, print }) => {
      for (const backend of context.memory.backends()) {
        const { id, size, merge, dump, prealloc, share, reserve } = backend;
        print(`memory backend: ${id}\n  size:  ${size}\n`);
        print(`  merge: ${merge}\n  dump: ${dump}\n  prealloc: ${prealloc}\n`);
        print(`  share: ${share}\n  reserve: ${reserve}\n`);
        print("  policy: default\n  host nodes: \n");
      }
      print("\n");
    },
  }),
  defineHumanCommand({
    names: "memory_size_summary",
    help: "show the amount of initially allocated and present hotpluggable memory in bytes",
    parameters: {},
    run: ({ context, print }) => print(`base memory: ${context.memory.size}\nplugged memory: 0\n`),
  }),
  defineHumanCommand({
    names: "mtree",
    help: "show memory tree",
    parameters: {},
    run: ({ context, print }) => {
      for (const { name, regions } of context.memory.addressSpaces()) {
        print(`address-space: ${name}\n${regions.map(describeRegion).join("")}\n`);
      }
    },
  }),
  defineHumanCommand({
    names: "name",
    help: "show the current VM name",
    parameters: {},
    run: ({ context: { identity }, print }) => {
      if (identity.name !== undefined) print(`${identity.name}\n`);
    },
  }),
  defineHumanCommand({
    names: "ramblock",
    help: "Display system ramblock information",
    parameters: {},
    run: ({ context, print }) => print(describeRamBlocks(context.memory.ramBlocks())),
  }),
  defineHumanCommand({
    names: "registers",
    help: "show the cpu registers (-a: show register info for all cpus; " +
      "vcpu: specific vCPU to query)",
    parameters: { all: flag("a"), vcpu: optionalInteger },
    usage: "[-a|vcpu]",
    run: ({ context, state, print }, { all, vcpu }) => {
      const wanted = vcpu ?? BigInt(state.cpu);
      const cpus = context.cpus.list().filter(({ index }) => all || BigInt(index) === wanted);
      if (cpus.length === 0) print(`CPU#${wanted} not available\n`);
      for (const { index } of cpus) {
        print(`\nCPU#${index}\n${describeRegisters(context.cpus.registers(index))}`);
      }
    },
  }),
  defineHumanCommand({
    names: "status",
    help: "show the current VM status (running|paused)",
    parameters: {},
    run: ({ context, print }) => {
      const { status, running } = context.machine.status();
      const reason = running || status === "paused" ? "" : ` (${status})`;
      print(`VM status: ${running ? "running" : "paused"}${reason}\n`);
    },
  }),
  defineHumanCommand({
    names: "uuid",
    help: "show the current VM UUID",
    parameters: {},
    run: ({ context, print }) => print(`${context.identity.uuid}\n`),
  }),
  defineHumanCommand({
    names: "version",
    help: "show the version of QEMU",
    parameters: {},
    run: ({ context, print }) => print(`${qemuVersionText}${context.identity.package}\n`),
  }),
];

/** `info` with `more` subcommands of other subjects; alone, it lists them. */
export function infoCommand(more: readonly HumanCommand[]): HumanCommand {
  const all = [...subcommands, ...more].sort((a, b) => a.names < b.names ? -1 : 1);
  return defineHumanCommand({
    names: "info",
    help: "show various information about the system state",
    parameters: {},
    usage: "[subcommand]",
    subcommands: all,
    run: ({ print }) => print(all.map((command) => describeCommand(command, "info ")).join("")),
  });
}
