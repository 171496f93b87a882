/** The properties of each machine, declared. Names and help are QEMU's. */
import {
  boolean,
  defaulting,
  integer,
  limited,
  onOffAuto,
  record,
  refused,
  size,
  text,
} from "../../configuration/property.ts";
import { topologyProperties } from "./topology.ts";

/** What `-machine help` lists. */
export const machineTypes = [
  { name: "microvm", description: "microvm (i386)" },
  { name: "none", description: "empty machine" },
] as const;

export const bootProperties = {
  order: text("Drives to boot from, as letters"),
  once: text("The same for the first boot only"),
  menu: boolean("Firmware offers a choice"),
  splash: text("Picture shown by the firmware"),
  "splash-time": integer("int64", "How long, in ms"),
  "reboot-timeout": integer("int64", "Wait before trying again, in ms"),
  strict: boolean("Boot only from what the order names"),
};

const memoryProperties = {
  size: size("Memory at start; a number without suffix is in MiB"),
  "max-size": size("Maximum size"),
  slots: integer("uint64", "Slots for more memory"),
};

/** Properties of every machine. */
export const commonProperties = {
  append: text("Linux kernel command line"),
  "aux-ram-share": defaulting(
    boolean("Use anonymous shared memory for auxiliary guest RAMs"),
    false,
  ),
  boot: record(bootProperties, "Boot configuration"),
  "confidential-guest-support": refused("guests are not encrypted"),
  "dt-compatible": refused("the guest has no device tree"),
  dtb: refused("the guest has no device tree"),
  "dump-guest-core": defaulting(boolean("Include guest memory in a core dump"), true),
  dumpdtb: refused("the guest has no device tree"),
  firmware: text("Firmware image"),
  graphics: defaulting(boolean("Inform firmware that there is a display"), true),
  initrd: text("Linux initial ramdisk file"),
  kernel: text("Linux kernel image file"),
  "mem-merge": defaulting(boolean("Enable/disable memory merge support"), true),
  memory: record(memoryProperties, "Memory size configuration"),
  "memory-backend": text("ID of the memory backend that is the guest's RAM"),
  "memory-encryption": refused("guests are not encrypted"),
  "phandle-start": refused("the guest has no device tree"),
  shim: refused("boot a kernel directly, or put the shim on a disk"),
  smp: record(topologyProperties, "CPU topology"),
  "smp-cache": refused("the guest sees the host's caches"),
  "suppress-vmdesc": defaulting(boolean("Set on to disable self-describing migration"), false),
  "kvm-shadow-mem": refused("the kernel sizes its shadow MMU itself; leave it out"),
  usb: limited(boolean("USB controller"), [false], "the board has no USB"),
  "x-change-vmfd-on-reset": limited(boolean(), [false], "leave it off"),
};

export const microvmProperties = {
  ...commonProperties,
  acpi: defaulting(onOffAuto("Enable ACPI"), "auto"),
  "auto-kernel-cmdline": defaulting(
    boolean("Set off to disable adding virtio-mmio devices to the kernel cmdline"),
    true,
  ),
  "bus-lock-ratelimit": limited(
    integer("uint64", "Limit of bus locks per second"),
    [0],
    "use 0, no limit",
  ),
  ioapic2: defaulting(onOffAuto("Enable second IO-APIC"), "auto"),
  "isa-serial": defaulting(
    boolean("Set off to disable the instantiation an ISA serial port"),
    true,
  ),
  pcie: limited(
    onOffAuto("Enable PCIe"),
    ["auto", "off"],
    "the board has no PCIe; use virtio devices whose names end in -device",
  ),
  pic: defaulting(onOffAuto("Enable i8259 PIC"), "auto"),
  pit: defaulting(onOffAuto("Enable i8254 PIT"), "auto"),
  rtc: defaulting(onOffAuto("Enable MC146818 RTC"), "auto"),
  "sgx-epc": refused("there is no SGX"),
  smm: limited(onOffAuto("Enable SMM"), ["auto", "off"], "there is no System Management Mode"),
  "x-oem-id": text("Override the default value of field OEMID in ACPI table header"),
  "x-oem-table-id": text("Override the default value of field OEM Table ID in ACPI table header"),
  "x-option-roms": defaulting(boolean("Set off to disable loading option ROMs"), true),
};

/** Properties that stand for -accel and its properties. */
export const acceleratorProperties = ["accel", "kernel-irqchip"];
