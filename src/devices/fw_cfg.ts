/**
 * QEMU's firmware configuration device: named blobs and small numbered items that firmware and
 * kernels read (QEMU's docs/specs/fw_cfg.rst; keys and bits: include/uapi/linux/qemu_fw_cfg.h).
 *
 * By port: the guest writes a key to the selector (two bytes at 0x510) and reads the item byte by
 * byte at 0x511; past its end it reads zeros.
 * By DMA: it writes the guest address of a descriptor { control, length, address }, all big-endian,
 * to 0x514 (high half) and 0x518 (low half, which starts the transfer). The device clears `control`
 * when it is done, or leaves the error bit in it.
 */
import {
  type AccessSize,
  DeviceStateError,
  type RegisterRegion,
  type Resettable,
} from "./device.ts";
import { type FwCfgRegisters, type FwCfgState, fwCfgState } from "./fw_cfg_state.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";

/** Selector and data port; the DMA address register. */
export const FW_CFG_PORT = 0x510;
export const FW_CFG_PORT_LENGTH = 2;
export const FW_CFG_DMA_PORT = 0x514;
export const FW_CFG_DMA_PORT_LENGTH = 8;

/** Keys of the numbered items. */
export const FwCfgKey = {
  signature: 0x00,
  id: 0x01,
  uuid: 0x02,
  ramSize: 0x03,
  noGraphic: 0x04,
  cpuCount: 0x05,
  kernelAddress: 0x07,
  kernelSize: 0x08,
  initrdAddress: 0x0a,
  initrdSize: 0x0b,
  bootDevice: 0x0c,
  bootMenu: 0x0e,
  maximumCpus: 0x0f,
  kernelEntry: 0x10,
  kernelData: 0x11,
  initrdData: 0x12,
  commandLineAddress: 0x13,
  commandLineSize: 0x14,
  commandLineData: 0x15,
  setupAddress: 0x16,
  setupSize: 0x17,
  setupData: 0x18,
  fileDirectory: 0x19,
  irq0Override: 0x8002,
} as const;

/** First key of files; they are numbered in the order of their names. */
const FIRST_FILE = 0x20;
const FILE_SLOTS = 0x20;
const FILE_NAME_SIZE = 56;
const DIRECTORY_ENTRY_SIZE = 64;

const ARCHITECTURE_ITEM = 0x8000;
const KEY_MASK = 0x3fff;
/** A selector that names no item. */
const INVALID = 0xffff;

const SIGNATURE = "QEMU";
const ID_TRADITIONAL = 0x01;
const ID_DMA = 0x02;

/** What reading the DMA register gives: its presence, in big-endian "QEMU CFG". */
const DMA_SIGNATURE = [0x51, 0x45, 0x4d, 0x55, 0x20, 0x43, 0x46, 0x47] as const;
const DMA_ERROR = 0x01;
const DMA_READ = 0x02;
const DMA_SKIP = 0x04;
const DMA_SELECT = 0x08;
const DMA_WRITE = 0x10;
const DMA_DESCRIPTOR_SIZE = 16;
/** Bytes moved at a time. */
const DMA_CHUNK = 1 << 20;

const PAGE_SIZE = 4096n;

/** Names of the blobs that firmware builds the ACPI tables from. Their RAM is migrated on its own. */
export const ACPI_TABLES_FILE = "etc/acpi/tables";
export const ACPI_LOADER_FILE = "etc/table-loader";
export const ACPI_RSDP_FILE = "etc/acpi/rsdp";

/** Guest memory as DMA sees it; both throw for addresses that are not RAM. */
export interface DmaMemory {
  read(address: number, length: number): Uint8Array;
  write(address: number, bytes: Uint8Array): void;
}

/** Contents that are made when the guest first reads them. */
export interface LazyContents {
  length: number;
  make(): Uint8Array;
}

interface Item {
  /** May be longer than the item; then it can grow into the rest. */
  backing: Uint8Array | LazyContents;
  length: number;
}

interface File extends Item {
  name: string;
}

/** The device and what it offers. */
export class FwCfg implements SavedDevice<FwCfgState>, Resettable {
  readonly idstr = "fw_cfg";
  readonly instanceId = 0;
  readonly description = fwCfgState;
  /** Selector and data, two ports. */
  readonly portRegion: RegisterRegion;
  /** The DMA address register, eight ports. */
  readonly dmaRegion: RegisterRegion;
  readonly #memory: DmaMemory;
  readonly #items = new Map<number, Item>();
  /** In the order of their names: the index gives the key. */
  readonly #files: File[] = [];
  /** All that is saved but the files' sizes. Of `dmaAddr` the high half; the low one starts a transfer. */
  #state: FwCfgRegisters = { curEntry: FwCfgKey.signature, curOffset: 0, dmaAddr: 0n };

  constructor(memory: DmaMemory) {
    this.#memory = memory;
    this.portRegion = {
      read: (_offset, size) => size === 1 ? this.#readByte() : 0,
      write: (offset, size, value) => {
        if (offset === 0 && size === 2) this.#select(value);
      },
    };
    this.dmaRegion = {
      read: readDmaSignature,
      write: (offset, size, value) => this.#writeDmaAddress(offset, size, value),
    };
    this.add(FwCfgKey.signature, new TextEncoder().encode(SIGNATURE));
    this.addU32(FwCfgKey.id, ID_TRADITIONAL | ID_DMA);
    this.#items.set(FwCfgKey.fileDirectory, { backing: new Uint8Array(4), length: 4 });
  }

  /** Sets a numbered item: a key of {@linkcode FwCfgKey}. */
  add(key: number, bytes: Uint8Array): void {
    const number = key & ~ARCHITECTURE_ITEM;
    if (number < 0 || number >= FIRST_FILE || number === FwCfgKey.fileDirectory) {
      throw new RangeError(`fw_cfg key 0x${key.toString(16)} is not that of a numbered item`);
    }
    this.#items.set(key, { backing: bytes, length: bytes.length });
  }

  /** Sets a numbered item to a little-endian number of two bytes. */
  addU16(key: number, value: number): void {
    const bytes = new Uint8Array(2);
    new DataView(bytes.buffer).setUint16(0, value, true);
    this.add(key, bytes);
  }

  /** Sets a numbered item to a little-endian number of four bytes. */
  addU32(key: number, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    this.add(key, bytes);
  }

  /** Sets a numbered item to a little-endian number of eight bytes. */
  addU64(key: number, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    this.add(key, bytes);
  }

  /**
   * Adds a file. `backing` is not copied: it may be guest RAM that migrates on its own. `length` is
   * the file's size if it is less. Throws if there is such a file or no room in the directory.
   */
  addFile(name: string, backing: Uint8Array | LazyContents, length = backing.length): void {
    const encoded = new TextEncoder().encode(name);
    if (encoded.length >= FILE_NAME_SIZE) {
      throw new RangeError(`fw_cfg file name ${name} is longer than ${FILE_NAME_SIZE - 1} bytes`);
    }
    if (this.#files.some((file) => file.name === name)) {
      throw new RangeError(`duplicate fw_cfg file name: ${name}`);
    }
    if (this.#files.length === FILE_SLOTS) {
      throw new RangeError(`fw_cfg file ${name}: all ${FILE_SLOTS} slots are taken`);
    }
    this.#files.push({ name, backing, length });
    this.#files.sort((a, b) => (a.name < b.name ? -1 : 1));
    this.#writeDirectory();
  }

  /** A file's contents as the guest reads them now, `undefined` if there is no such file. */
  file(name: string): Uint8Array | undefined {
    const file = this.#files.find((candidate) => candidate.name === name);
    return file && bytesOf(file).subarray(0, file.length);
  }

  reset(): void {
    this.#select(FwCfgKey.signature);
  }

  save(): FwCfgState {
    const sizes = {
      tableMrSize: this.#fileSize(ACPI_TABLES_FILE),
      linkerMrSize: this.#fileSize(ACPI_LOADER_FILE),
      rsdpMrSize: this.#fileSize(ACPI_RSDP_FILE),
    };
    const state: FwCfgState = { ...this.#state };
    // Whole pages are known from the RAM blocks.
    if (Object.values(sizes).some((size) => size % PAGE_SIZE !== 0n)) state.acpiSizes = sizes;
    return state;
  }

  load(state: FwCfgState): void {
    const { acpiSizes: acpi, dmaAddr = 0n, ...registers } = state;
    const resized: [File, number][] = [];
    if (acpi !== undefined) {
      this.#checkSize(ACPI_TABLES_FILE, acpi.tableMrSize, resized);
      this.#checkSize(ACPI_LOADER_FILE, acpi.linkerMrSize, resized);
      this.#checkSize(ACPI_RSDP_FILE, acpi.rsdpMrSize, resized);
    }
    for (const [file, size] of resized) file.length = size;
    this.#writeDirectory();
    this.#state = { ...registers, dmaAddr: dmaAddr >> 32n << 32n };
  }

  #checkSize(name: string, size: bigint, resized: [File, number][]): void {
    const file = this.#files.find((candidate) => candidate.name === name);
    if (size === 0n && file === undefined) return;
    const capacity = file?.backing.length ?? 0;
    if (file === undefined || size > capacity) {
      throw new DeviceStateError(
        `fw_cfg file ${name} is ${size} bytes in the saved state, but at most ${capacity} here`,
      );
    }
    // A size of 0 comes from a source that did not record it: the size here stands.
    if (size !== 0n) resized.push([file, Number(size)]);
  }

  #fileSize(name: string): bigint {
    return BigInt(this.#files.find((file) => file.name === name)?.length ?? 0);
  }

  #writeDirectory(): void {
    const bytes = new Uint8Array(4 + this.#files.length * DIRECTORY_ENTRY_SIZE);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, this.#files.length);
    this.#files.forEach((file, index) => {
      const entry = 4 + index * DIRECTORY_ENTRY_SIZE;
      view.setUint32(entry, file.length);
      view.setUint16(entry + 4, FIRST_FILE + index);
      bytes.set(new TextEncoder().encode(file.name), entry + 8);
      this.#items.set(FIRST_FILE + index, file);
    });
    this.#items.set(FwCfgKey.fileDirectory, { backing: bytes, length: bytes.length });
  }

  #select(key: number): void {
    const number = key & KEY_MASK;
    this.#state.curEntry = number < FIRST_FILE + FILE_SLOTS ? key : INVALID;
    this.#state.curOffset = 0;
  }

  #selected(): Item | undefined {
    if (this.#state.curEntry === INVALID) return undefined;
    return this.#items.get(this.#state.curEntry & (ARCHITECTURE_ITEM | KEY_MASK));
  }

  #readByte(): number {
    const item = this.#selected();
    if (item === undefined || this.#state.curOffset >= item.length) return 0;
    return bytesOf(item)[this.#state.curOffset++] ?? 0;
  }

  #writeDmaAddress(offset: number, size: AccessSize, value: number): void {
    if (size !== 4) return;
    if (offset === 0) {
      this.#state.dmaAddr = BigInt(swap32(value)) << 32n;
    } else if (offset === 4) {
      const address = Number(this.#state.dmaAddr) + swap32(value);
      this.#state.dmaAddr = 0n;
      this.#transfer(address);
    }
  }

  #transfer(descriptor: number): void {
    let bytes: Uint8Array;
    try {
      bytes = this.#memory.read(descriptor, DMA_DESCRIPTOR_SIZE);
    } catch {
      this.#finish(descriptor, DMA_ERROR);
      return;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const control = view.getUint32(0);
    const length = view.getUint32(4);
    const address = view.getUint32(8) * 2 ** 32 + view.getUint32(12);
    if ((control & DMA_SELECT) !== 0) this.#select(control >>> 16);
    let error = false;
    if ((control & DMA_READ) !== 0) {
      error = !this.#readTo(address, length);
    } else if ((control & DMA_WRITE) !== 0) {
      // No item can be written.
      error = length > 0;
    } else if ((control & DMA_SKIP) !== 0) {
      this.#skip(length);
    }
    this.#finish(descriptor, error ? DMA_ERROR : 0);
  }

  /** Copies the item from the current offset on, zeros after its end. False if that is not RAM. */
  #readTo(address: number, length: number): boolean {
    const item = this.#selected();
    let done = 0;
    while (done < length) {
      const available = item === undefined ? 0 : Math.max(item.length - this.#state.curOffset, 0);
      const count = Math.min(length - done, DMA_CHUNK, available > 0 ? available : Infinity);
      const bytes = item !== undefined && available > 0
        ? bytesOf(item).subarray(this.#state.curOffset, this.#state.curOffset + count)
        : new Uint8Array(count);
      if (available > 0) this.#state.curOffset += count;
      try {
        this.#memory.write(address + done, bytes);
      } catch {
        return false;
      }
      done += count;
    }
    return true;
  }

  #skip(length: number): void {
    const item = this.#selected();
    if (item === undefined) return;
    this.#state.curOffset = Math.min(
      this.#state.curOffset + length,
      Math.max(item.length, this.#state.curOffset),
    );
  }

  #finish(descriptor: number, control: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, control);
    try {
      this.#memory.write(descriptor, bytes);
    } catch {
      // The guest named an address where the error cannot be reported; real hardware could not either.
    }
  }
}

function bytesOf(item: Item): Uint8Array {
  if (!(item.backing instanceof Uint8Array)) item.backing = item.backing.make();
  return item.backing;
}

function readDmaSignature(offset: number, size: AccessSize): number {
  let value = 0;
  for (let i = 0; i < size; i++) value |= (DMA_SIGNATURE[offset + i] ?? 0) << (8 * i);
  return value >>> 0;
}

/** Ports carry little-endian numbers; this register is big-endian. */
function swap32(value: number): number {
  return (((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) |
    (value >>> 24)) >>> 0;
}
