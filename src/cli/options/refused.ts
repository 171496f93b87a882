/** Options that QEMU has and molt has not. Each use is an error that says what to do instead. */
import { type Option, type OptionGroup, refusedOption } from "../option.ts";

const noDisplay =
  "molt has no display; use '-display none', and '-serial' or '-nographic' for text";
const noTranslation = "guest code runs on KVM, it is not translated";
const noUsb = "the board has no USB";
const noTpm = "the board has no TPM";
const noTables = "ACPI and SMBIOS tables are the board's own";
const noBoardFlash = "the board has no such device; use '-drive if=none' and virtio-blk-device";
const noShare = "molt shares no directories with guests; use a network file system";

/** Names, argument, reason. */
const table:
  readonly (readonly [names: readonly [string, ...string[]], argument: string, string])[] = [
    [["acpitable"], "...", noTables],
    [["smbios"], "...", noTables],
    [["icount"], "...", noTranslation],
    [["plugin"], "file", noTranslation],
    [["dfilter"], "range", noTranslation],
    [["seed"], "number", "random numbers come from the host"],
    [["vnc"], "display", noDisplay],
    [["spice"], "...", noDisplay],
    [["fda"], "file", noBoardFlash],
    [["fdb"], "file", noBoardFlash],
    [["pflash"], "file", noBoardFlash],
    [["mtdblock"], "file", noBoardFlash],
    [["sd"], "file", noBoardFlash],
    [["fsdev"], "...", noShare],
    [["virtfs"], "...", noShare],
    [["iscsi"], "...", "log in with the host's open-iscsi and use the block device"],
    [["usbdevice"], "name", noUsb],
    [["tpmdev"], "...", noTpm],
    [["numa"], "...", "the guest has one NUMA node; place it with numactl(8)"],
    [["debugcon"], "dev", "use '-serial'"],
    [["gdb"], "dev", "there is no gdb server; use the monitor's 'info registers' and 'x'"],
    [["loadvm"], "tag", "use '-incoming file:PATH' with a file that 'migrate' wrote"],
    [["option-rom"], "rom", "firmware has the option ROMs it needs"],
    [["xen-domid"], "id", "there is no Xen"],
    [["set"], "group.id.arg=value", "give the value with the option itself"],
    [["dump-vmstate"], "file", "use 'molt inspect' on a stream"],
    [["compat"], "...", "deprecated interfaces are accepted"],
  ];

/** Those without an argument. */
const flags: readonly (readonly [name: string, reason: string])[] = [
  ["s", "there is no gdb server; use the monitor's 'info registers' and 'x'"],
  ["snapshot", "work on a copy of the image"],
  ["preconfig", "use '-S' and QMP"],
  ["full-screen", noDisplay],
  ["win2k-hack", noBoardFlash],
  ["no-fd-bootchk", noBoardFlash],
  ["xen-attach", "there is no Xen"],
  ["xen-domid-restrict", "there is no Xen"],
  ["enable-sync-profile", "use perf(1)"],
  ["perfmap", noTranslation],
  ["jitdump", noTranslation],
];

export class RefusedOptions implements OptionGroup {
  readonly title = "Options of QEMU that molt refuses";
  readonly options: readonly Option[] = [
    ...table.map(([names, argument, reason]) => refusedOption(names, argument, reason)),
    ...flags.map(([name, reason]) => refusedOption([name], undefined, reason)),
  ];
}
