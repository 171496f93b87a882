/** What PCI functions, buses and host bridges save. */
import {
  array,
  bytes,
  i32,
  nested,
  struct,
  u16,
  u32,
  VmStateError,
} from "../../vmstate/vmstate.ts";
import type { StateOf } from "../../vmstate/vmstate.ts";
import { CONVENTIONAL_SIZE, EXPRESS_SIZE } from "./config_space.ts";

/** The newest `PCIDevice` that is read. */
const PCI_DEVICE_VERSION = 2;
/** Interrupt lines of a bus that routes them: PIRQ A to H. */
export const PIRQ_COUNT = 8;

/** Declares `PCIDevice` with a configuration space of `size` bytes. */
function pciDevice(size: number) {
  return struct({
    name: "PCIDevice",
    version: PCI_DEVICE_VERSION,
    minimumVersion: 1,
    fields: {
      versionId: i32(),
      config: bytes(size),
      /** Levels of INTA to INTD as the function itself asserts them. */
      irqState: array(i32(), 4),
    },
    postLoad({ versionId }) {
      if (versionId > PCI_DEVICE_VERSION) {
        throw new VmStateError(
          `Invalid value ${versionId} expecting positive value <= ${PCI_DEVICE_VERSION}`,
        );
      }
    },
  });
}

/** Of a conventional function. */
export const conventionalDeviceState = pciDevice(CONVENTIONAL_SIZE);
/** Of a PCI Express function. */
export const expressDeviceState = pciDevice(EXPRESS_SIZE);
export type PciDeviceState = StateOf<typeof expressDeviceState>;

/**
 * Declares the MSI-X table and pending bits: 16 bytes per vector as the guest sees them (little-endian),
 * then a bit per vector. Their size is known from the function.
 */
export function msixState(vectors: number) {
  return struct({
    name: "msix",
    version: 0,
    fields: { table: bytes(16 * vectors), pending: bytes(Math.ceil(vectors / 8)) },
  });
}
export type MsixState = StateOf<ReturnType<typeof msixState>>;

/** Errors that a port keeps until they are read. None is ever kept, because none is injected. */
const errorLogState = struct({
  name: "PCIE_AER_ERROR_LOG",
  version: 1,
  fields: { logNum: u16(), logMax: u16() },
  postLoad({ logNum }) {
    if (logNum !== 0) {
      throw new VmStateError(`${logNum} errors are logged, of which none can be kept`);
    }
  },
});

/** Section `<address>/pcie-root-port`. */
export const rootPortState = struct({
  name: "pcie-root-port",
  version: 1,
  fields: {
    device: nested(expressDeviceState),
    errorLog: nested(errorLogState),
    msix: nested(msixState(1)),
  },
});

/** Section `PCIHost`: the register at port 0xcf8. */
export const hostState = struct({ name: "PCIHost", version: 1, fields: { configReg: u32() } });

/** Declares section `PCIBUS` of a bus with `lines` interrupt lines; a bridge's has none of its own. */
export function busState(lines: number) {
  return struct({
    name: "PCIBUS",
    version: 1,
    fields: {
      nirq: i32(),
      /** How many functions assert each line. */
      irqCount: array(i32(), lines),
    },
    postLoad({ nirq }) {
      if (nirq !== lines) throw new VmStateError(`Invalid value ${nirq} expecting ${lines}`);
    },
  });
}
