/** What the board offers firmware and guests by fw_cfg: itself, a kernel to start, -fw_cfg's files. */
import type { BootFile } from "../boot/boot.ts";
import { isBzImage } from "../boot/bzimage.ts";
import { type ElfKernel, isElf, parseElf } from "../boot/elf.ts";
import { lowRamEnd, ramLayout } from "../boot/memory_map.ts";
import { findEntry } from "../boot/pvh.ts";
import type { DeviceTreeConfiguration } from "../devices/device_tree.ts";
import type { FwCfg } from "../devices/fw_cfg.ts";
import { addBoardItems, addLinuxItems, addPvhItems } from "../devices/fw_cfg_items.ts";

/** What the configuration says of firmware. */
export interface FirmwareOptions {
  /** Firmware talks on the serial port: there is no display. */
  readonly noGraphic: boolean;
  readonly bootMenu: boolean;
  /** Wait before firmware tries to boot again, in ms; absent: it does not. */
  readonly rebootTimeout?: number;
  /** -fw_cfg. */
  readonly files: readonly { readonly name: string; readonly bytes: Uint8Array }[];
}

/** A kernel that firmware is to start. */
export interface FirmwareKernel {
  readonly kernel: BootFile;
  readonly initrd?: BootFile;
  readonly commandLine: string;
}

/** The machine as far as the items describe it. */
export interface FirmwareBoard {
  readonly cpus: number;
  /** Bytes of RAM. */
  readonly ramSize: number;
  /** The 16 bytes of -uuid. */
  readonly uuid?: Uint8Array;
  readonly devices: DeviceTreeConfiguration;
}

/**
 * Adds all items. Throws if the kernel is none that firmware can start, or a file's name is taken.
 */
export function addFirmwareItems(
  fwCfg: FwCfg,
  board: FirmwareBoard,
  options: FirmwareOptions,
  kernel: FirmwareKernel | undefined,
): void {
  addBoardItems(fwCfg, {
    cpus: board.cpus,
    maximumCpus: board.cpus,
    ram: ramLayout(board.ramSize),
    uuid: board.uuid,
    noGraphic: options.noGraphic,
    bootMenu: options.bootMenu,
    rebootTimeout: options.rebootTimeout,
    bootOrder: [],
    devices: board.devices,
  });
  if (kernel !== undefined) addKernel(fwCfg, kernel, Math.min(board.ramSize, lowRamEnd));
  for (const { name, bytes } of options.files) fwCfg.addFile(name, bytes);
}

function addKernel(fwCfg: FwCfg, { kernel, initrd, commandLine }: FirmwareKernel, end: number) {
  const common = {
    kernel: kernel.bytes,
    initrd: initrd?.bytes,
    commandLine,
    lowRamEnd: end,
  };
  try {
    if (isElf(kernel.bytes)) {
      const elf = parseElf(kernel);
      addPvhItems(fwCfg, { ...common, ...pvhPlace(elf) });
    } else if (isBzImage(kernel.bytes)) {
      addLinuxItems(fwCfg, common);
    } else {
      throw new RangeError("neither a Linux bzImage nor an ELF kernel with a PVH entry");
    }
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new Error(`could not load kernel '${kernel.name}': ${cause.message}`, { cause });
  }
}

function pvhPlace(elf: ElfKernel): { entry: number; start: number; end: number } {
  const entry = findEntry(elf);
  if (entry === undefined) {
    throw new RangeError("Error loading uncompressed kernel without PVH ELF Note");
  }
  return {
    entry,
    start: Math.min(...elf.segments.map(({ address }) => address)),
    end: Math.max(...elf.segments.map(({ address, memorySize }) => address + memorySize)),
  };
}
