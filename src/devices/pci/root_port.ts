/** The configuration space of `pcie-root-port`. */
import { addBar, type BarDeclaration } from "./bars.ts";
import { addMsix, addSubsystem } from "./capabilities.ts";
import { ConfigSpace, EXPRESS_SIZE } from "./config_space.ts";
import {
  addAccessControl,
  addErrorReporting,
  addExpressRootPort,
  type RootPortExpress,
} from "./express.ts";
import { bridgeHeader } from "./header.ts";

/** Vendor ID that QEMU's own devices use. */
const RED_HAT = 0x1b36;

/** Its only BAR: MSI-X. */
export const rootPortBar: BarDeclaration = { index: 0, kind: "memory", size: 0x1000 };

/** What a port is made of. */
export interface RootPortOptions extends RootPortExpress {
  readonly multifunction?: boolean;
}

/** The space of a port after a reset. */
export function rootPortSpace(options: RootPortOptions): ConfigSpace {
  const space = new ConfigSpace(EXPRESS_SIZE);
  bridgeHeader(space, {
    vendor: RED_HAT,
    device: 0x000c,
    classCode: 0x060400,
    interruptPin: 1,
    multifunction: options.multifunction ?? false,
  });
  addBar(space, rootPortBar);
  addSubsystem(space, 0x40, { vendor: RED_HAT, device: 0 });
  addMsix(space, 0x48, { vectors: 1, bar: 0, table: 0, pending: 0x800 });
  addExpressRootPort(space, 0x54, options);
  addErrorReporting(space, 0x100);
  addAccessControl(space, 0x148);
  return space;
}
