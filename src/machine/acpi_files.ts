/** The ACPI tables as firmware gets them: blocks of RAM, which a migration sends, as files of fw_cfg. */
import { type AcpiConfiguration, buildAcpiFiles } from "../devices/acpi/tables.ts";
import {
  ACPI_LOADER_FILE,
  ACPI_RSDP_FILE,
  ACPI_TABLES_FILE,
  type FwCfg,
} from "../devices/fw_cfg.ts";
import type { RamBlock } from "../memory/ram_block.ts";
import { acpiBlocks, type MachineRam } from "./ram.ts";

/** Lengths of the files in their blocks. */
type Lengths = { readonly [File in keyof typeof acpiBlocks]: number };

/** Offers the ACPI blobs as files. In an incoming migration their content and size come later. */
export function addAcpiFiles(
  fwCfg: FwCfg,
  configuration: AcpiConfiguration,
  ram: MachineRam,
  fill: boolean,
): void {
  const sizes = fill ? fillAcpiBlocks(configuration, ram) : undefined;
  const add = (file: string, key: keyof typeof acpiBlocks) => {
    const block = blockOf(key, ram);
    fwCfg.addFile(file, block.mapping.bytes, sizes?.[key] ?? block.usedLength);
  };
  add(ACPI_TABLES_FILE, "tables");
  add(ACPI_LOADER_FILE, "loader");
  add(ACPI_RSDP_FILE, "rsdp");
}

/** Fills the blocks. Returns the files' lengths. */
export function fillAcpiBlocks(configuration: AcpiConfiguration, ram: MachineRam): Lengths {
  const files = buildAcpiFiles(configuration);
  const fill = (key: keyof typeof acpiBlocks) => {
    const { bytes } = blockOf(key, ram).mapping;
    bytes.fill(0);
    bytes.set(files[key]);
    return files[key].length;
  };
  return { tables: fill("tables"), loader: fill("loader"), rsdp: fill("rsdp") };
}

function blockOf(key: keyof typeof acpiBlocks, ram: MachineRam): RamBlock {
  const { name } = acpiBlocks[key];
  const block = ram.block(name);
  if (block === undefined) throw new Error(`the RAM block '${name}' is missing`);
  return block;
}
