/** Saved state of the firmware configuration device: section `fw_cfg`. */
import { type StateOf, struct, subsection, u16, u32, u64, widened } from "../vmstate/vmstate.ts";

export const fwCfgState = struct({
  name: "fw_cfg",
  version: 2,
  minimumVersion: 1,
  fields: {
    /** Key of the selected item. */
    curEntry: u16(),
    /** Byte offset in the selected item. Version 1 had it in 16 bits. */
    curOffset: widened(u32({ name: "cur_offset[1]" }), u16(), 2),
  },
  subsections: {
    /** DMA address register; absent without the DMA interface. */
    dmaAddr: subsection({
      name: "fw_cfg/dma",
      version: 0,
      key: "dmaAddr",
      field: u64(),
    }),
    /** Bytes in the blobs behind the ACPI RAM blocks, of which the block list knows whole pages only. */
    acpiSizes: subsection({
      name: "fw_cfg/acpi_mr",
      version: 1,
      fields: { tableMrSize: u64(), linkerMrSize: u64(), rsdpMrSize: u64() },
    }),
  },
});

export type FwCfgState = StateOf<typeof fwCfgState>;

/** What the device keeps of it: the sizes are its files'. */
export type FwCfgRegisters = Required<Omit<FwCfgState, "acpiSizes" | "dmaAddr">> & {
  dmaAddr: bigint;
};
