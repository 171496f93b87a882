/**
 * Migration capabilities, each declared once: name, what it does, its name for -global, and whether
 * molt has it. Names, order and the texts of errors are QEMU's (qapi/migration.json).
 */
import { migrationCapabilities, type MigrationCapabilityName } from "../qapi/names.ts";
import { MigrationError } from "./errors.ts";

interface Capability {
  readonly documentation: string;
  /** Its name for -global migration.NAME=. */
  readonly property: string;
  /** Why it cannot be turned on. */
  readonly refused?: string;
}

const table = {
  "xbzrle": {
    documentation: "Pages that changed little are sent as differences.",
    property: "x-xbzrle",
    refused:
      "differences are never sent (use multifd-compression). A destination loads them as they " +
      "come, with the capability off",
  },
  "rdma-pin-all": {
    documentation: "All memory is pinned before a migration by RDMA.",
    property: "x-rdma-pin-all",
    refused: "there is no RDMA",
  },
  "auto-converge": {
    documentation: "vCPUs are slowed down while the guest dirties memory faster than it is sent.",
    property: "x-auto-converge",
  },
  "events": {
    documentation: "Events report each change of status (MIGRATION) and pass (MIGRATION_PASS).",
    property: "x-events",
  },
  "postcopy-ram": {
    documentation: "The guest moves before its memory.",
    property: "x-postcopy-ram",
    refused: "the guest would be lost if either side fails; use auto-converge or multifd",
  },
  "x-colo": {
    documentation: "A second machine follows the first one step by step.",
    property: "x-colo",
    refused: "there is no COLO",
  },
  "release-ram": {
    documentation: "Postcopy: memory that was sent is given back to the host.",
    property: "x-release-ram",
    refused: "it needs postcopy-ram",
  },
  "return-path": {
    documentation: "The destination answers: a migration is complete when it says so.",
    property: "x-return-path",
  },
  "pause-before-switchover": {
    documentation: "The stopped guest waits for migrate-continue before it is sent.",
    property: "x-pause-before-switchover",
  },
  "multifd": {
    documentation: "Pages go through several channels at once.",
    property: "x-multifd",
  },
  "dirty-bitmaps": {
    documentation: "Dirty bitmaps of disks are sent along.",
    property: "dirty-bitmaps",
    refused: "disks have no dirty bitmaps",
  },
  "postcopy-blocktime": {
    documentation: "Postcopy: how long vCPUs waited for pages is measured.",
    property: "postcopy-blocktime",
    refused: "it needs postcopy-ram",
  },
  "late-block-activate": {
    documentation: "The destination takes disks over when its guest starts, not when it is loaded.",
    property: "late-block-activate",
  },
  "x-ignore-shared": {
    documentation: "Memory in named shared files stays there and is not sent.",
    property: "x-ignore-shared",
  },
  "validate-uuid": {
    documentation: "The destination refuses a guest with another UUID.",
    property: "validate-uuid",
  },
  "background-snapshot": {
    documentation: "The running guest's memory is saved as it was at the beginning.",
    property: "x-background-snapshot",
    refused: "use mapped-ram, which saves the running guest",
  },
  "zero-copy-send": {
    documentation: "multifd: pages are sent without being copied within the host.",
    property: "x-zero-copy-send",
    refused: "pages would be locked in memory for as long as they are on their way",
  },
  "postcopy-preempt": {
    documentation: "Postcopy: pages that are waited for have a channel of their own.",
    property: "x-postcopy-preempt",
    refused: "it needs postcopy-ram",
  },
  "switchover-ack": {
    documentation: "The guest is not stopped before the destination agrees.",
    property: "x-switchover-ack",
  },
  "dirty-limit": {
    documentation: "vCPUs that dirty memory too fast are slowed down one by one.",
    property: "x-dirty-limit",
    refused: "use auto-converge",
  },
  "mapped-ram": {
    documentation: "In a file every page has a fixed place.",
    property: "mapped-ram",
  },
} as const satisfies Readonly<Record<MigrationCapabilityName, Capability>>;

/** The name of a capability. */
export type CapabilityName = MigrationCapabilityName;

/** The declarations by name, in QEMU's order. */
export const capabilityTable: Readonly<Record<CapabilityName, Capability>> = table;

/** All names, in QEMU's order. */
export const capabilityNames: readonly CapabilityName[] = migrationCapabilities;

/** True if there is a capability of that name. */
export function isCapabilityName(name: string): name is CapabilityName {
  return Object.hasOwn(table, name);
}

/** Which capabilities are on. */
export type CapabilitySet = ReadonlySet<CapabilityName>;

/** What the rules for capabilities depend on besides them. */
export interface CapabilityDependencies {
  /** The destination already listens or loads. */
  readonly incomingStarted: boolean;
  readonly compression: string;
  /** -accel kvm,dirty-ring-size=N with N above 0. */
  readonly dirtyRing: boolean;
}

/** What background-snapshot cannot be combined with, in the order of complaint. */
const notWithBackgroundSnapshot: readonly CapabilityName[] = [
  "postcopy-ram",
  "dirty-bitmaps",
  "postcopy-blocktime",
  "late-block-activate",
  "return-path",
  "multifd",
  "pause-before-switchover",
  "auto-converge",
  "release-ram",
  "rdma-pin-all",
  "xbzrle",
  "x-colo",
  "validate-uuid",
  "zero-copy-send",
];

/** What is wrong with changing the capabilities from `before` to `on`, or `undefined`. */
export function capabilityComplaint(
  on: CapabilitySet,
  before: CapabilitySet,
  { incomingStarted, compression, dirtyRing }: CapabilityDependencies,
): string | undefined {
  if (on.has("postcopy-ram") && on.has("x-ignore-shared")) {
    return "Postcopy is not compatible with ignore-shared";
  }
  if (on.has("background-snapshot")) {
    const other = notWithBackgroundSnapshot.find((name) => on.has(name));
    if (other !== undefined) return `Background-snapshot is not compatible with ${other}`;
  }
  if (
    on.has("zero-copy-send") &&
    (!on.has("multifd") || on.has("xbzrle") || compression !== "none")
  ) {
    return "Zero copy only available for non-compressed non-TLS multifd migration";
  }
  if (on.has("postcopy-preempt")) {
    if (!on.has("postcopy-ram")) return "Postcopy preempt requires postcopy-ram";
    if (!before.has("postcopy-preempt") && incomingStarted) {
      return "Postcopy preempt must be set before incoming starts";
    }
  }
  if (on.has("multifd") && !before.has("multifd") && incomingStarted) {
    return "Multifd must be set before incoming starts";
  }
  for (const name of ["switchover-ack", "x-colo"] as const) {
    if (on.has(name) && !on.has("return-path")) {
      return `Capability '${name}' requires capability 'return-path'`;
    }
  }
  if (on.has("dirty-limit")) {
    if (on.has("auto-converge")) {
      return "dirty-limit conflicts with auto-converge either of then available currently";
    }
    if (!dirtyRing) {
      return "dirty-limit requires KVM with accelerator property 'dirty-ring-size' set";
    }
  }
  if (on.has("multifd") && on.has("xbzrle")) return "Multifd is not compatible with xbzrle";
  if (on.has("mapped-ram")) {
    if (on.has("xbzrle")) return "Mapped-ram migration is incompatible with xbzrle";
    if (on.has("postcopy-ram")) return "Mapped-ram migration is incompatible with postcopy";
  }
  for (const name of on) {
    const { refused } = capabilityTable[name];
    if (refused !== undefined) return `Capability '${name}' is not supported: ${refused}`;
  }
  return undefined;
}

/** The capabilities of a machine's migrations. */
export class CapabilityStore {
  #on: CapabilitySet = new Set();

  /** Those that are on. */
  get on(): CapabilitySet {
    return this.#on;
  }

  has(name: CapabilityName): boolean {
    return this.#on.has(name);
  }

  /** Turns capabilities on and off: all of them, or none. */
  set(
    changes: readonly { readonly capability: CapabilityName; readonly state: boolean }[],
    dependencies: CapabilityDependencies,
  ): void {
    const on = new Set(this.#on);
    for (const { capability, state } of changes) {
      if (state) on.add(capability);
      else on.delete(capability);
    }
    const complaint = capabilityComplaint(on, this.#on, dependencies);
    if (complaint !== undefined) throw new MigrationError(complaint);
    this.#on = on;
  }

  /** All capabilities and whether they are on, in QEMU's order. */
  list(): { readonly capability: CapabilityName; readonly state: boolean }[] {
    return capabilityNames.map((capability) => ({ capability, state: this.#on.has(capability) }));
  }
}
