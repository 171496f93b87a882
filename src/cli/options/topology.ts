/** -smp: how many CPUs there are and how they are arranged. */
import { OptionError } from "../../configuration/errors.ts";
import { integer, type PropertiesOf } from "../../configuration/property.ts";
import type { CpuTopology } from "../../configuration/machine.ts";

/** The most CPUs each machine has. */
const maximumCpus = { microvm: 8, none: 1 } as const;

/** Every level of QEMU's hierarchies; microvm has sockets, cores and threads. */
export const topologyProperties = {
  cpus: integer("int64", "CPUs at start"),
  drawers: integer("int64"),
  books: integer("int64"),
  sockets: integer("int64", "sockets on the machine board"),
  dies: integer("int64"),
  clusters: integer("int64"),
  modules: integer("int64"),
  cores: integer("int64", "cores in one socket"),
  threads: integer("int64", "threads in one core"),
  maxcpus: integer("int64", "maximum number of CPUs"),
};
export type TopologyProperties = PropertiesOf<typeof topologyProperties>;

/**
 * Fills in what was not given and checks the rest. Missing levels come from the number of CPUs, cores
 * before sockets, as QEMU does it for its newer machines.
 */
export function completeTopology(
  given: TopologyProperties,
  machine: "microvm" | "none",
): CpuTopology {
  if (Object.values(given).includes(0)) {
    throw new OptionError(
      "Invalid CPU topology: CPU topology parameters must be greater than zero",
    );
  }
  for (const level of ["drawers", "books", "dies", "modules", "clusters"] as const) {
    if ((given[level] ?? 1) > 1) {
      throw new OptionError(`${level} > 1 not supported by this machine's CPU topology`);
    }
  }
  const total = given.maxcpus ?? given.cpus;
  let { sockets, cores } = given;
  const threads = given.threads ?? 1;
  if (total === undefined) {
    sockets ??= 1;
    cores ??= 1;
  } else if (cores === undefined) {
    sockets ??= 1;
    cores = given.threads === undefined || sockets * threads <= total
      ? Math.floor(total / (sockets * threads))
      : 0;
  } else {
    sockets ??= Math.floor(total / (cores * threads));
  }
  const product = sockets * cores * threads;
  const maxCpus = total ?? product;
  const cpus = given.cpus ?? maxCpus;
  const hierarchy = `sockets (${sockets}) * cores (${cores}) * threads (${threads})`;
  if (product !== maxCpus) {
    throw new OptionError(
      "Invalid CPU topology: product of the hierarchy must match maxcpus: " +
        `${hierarchy} != maxcpus (${maxCpus})`,
    );
  }
  if (maxCpus < cpus) {
    throw new OptionError(
      "Invalid CPU topology: maxcpus must be equal to or greater than smp: " +
        `${hierarchy} == maxcpus (${maxCpus}) < smp_cpus (${cpus})`,
    );
  }
  const limit = maximumCpus[machine];
  if (cpus < 1 || cpus > limit || maxCpus > limit) {
    const count = cpus < 1 || cpus > limit ? cpus : maxCpus;
    throw new OptionError(
      `Invalid SMP CPUs ${count}. The max CPUs supported by machine '${machine}' is ${limit}`,
    );
  }
  return { cpus, maxCpus, sockets, dies: 1, modules: 1, cores, threads };
}
