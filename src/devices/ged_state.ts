/**
 * Saved state of the ACPI generic event device: section `acpi-ged`. microvm's has no hotplug of CPUs or
 * PCI devices; what other machines save of those is not declared.
 */
import {
  array,
  bool,
  nested,
  type StateOf,
  struct,
  subsection,
  u32,
  u64,
} from "../vmstate/vmstate.ts";

const memoryHotplugState = struct({
  name: "memory hotplug state",
  version: 1,
  fields: {
    selector: u32(),
    /** A machine without memory slots has none. */
    devs: array(
      nested(struct({
        name: "memory hotplug device state",
        version: 1,
        fields: { isEnabled: bool(), isInserting: bool(), ostEvent: u32(), ostStatus: u32() },
      })),
      0,
    ),
  },
});

export const gedState = struct({
  name: "acpi-ged",
  version: 1,
  fields: {
    ged: nested(
      struct({
        name: "acpi-ged-state",
        version: 1,
        fields: {
          /** Events pending that the guest has not read. */
          sel: u32(),
        },
      }),
      { name: "ged_state" },
    ),
  },
  subsections: {
    /** Always written by QEMU. */
    memoryHotplug: subsection({
      name: "acpi-ged/memhp",
      version: 1,
      field: nested(memoryHotplugState, { name: "memhp_state", since: 1 }),
    }),
    hardwareErrors: subsection({
      name: "acpi-ged/ghes",
      version: 1,
      field: nested(
        struct({
          name: "acpi-ghes",
          version: 1,
          fields: { hwErrorLe: u64() },
        }),
        { name: "ghes_state" },
      ),
      needed: (ghes) => ghes.hwErrorLe !== 0n,
    }),
    hardwareErrorSources: subsection({
      name: "acpi-ged/hest",
      version: 1,
      field: nested(
        struct({
          name: "acpi-hest",
          version: 1,
          fields: { hestAddrLe: u64() },
        }),
        { name: "ghes_state" },
      ),
      needed: (hest) => hest.hestAddrLe !== 0n,
    }),
  },
});

export type GedState = StateOf<typeof gedState>;
