/** The firmware configuration device as a device of a board: at the ports that every PC has it. */
import {
  FW_CFG_DMA_PORT,
  FW_CFG_DMA_PORT_LENGTH,
  FW_CFG_PORT,
  FW_CFG_PORT_LENGTH,
  FwCfg,
} from "./fw_cfg.ts";
import { deviceModel, wholeDevice } from "./model.ts";

export const fwCfgModel = deviceModel({
  name: "fw_cfg_io",
  create(_settings: Record<never, never>, { ports, ram }) {
    const device = new FwCfg(ram);
    ports.map("fwcfg", FW_CFG_PORT, FW_CFG_PORT_LENGTH, device.portRegion);
    ports.map("fwcfg.dma", FW_CFG_DMA_PORT, FW_CFG_DMA_PORT_LENGTH, device.dmaRegion);
    return wholeDevice(device);
  },
});
