/** Loads whatever `-kernel` names: a bzImage, or an ELF kernel with a PVH entry. */

import { BootError, type GuestMemory, type InitialCpu, type KernelBoot } from "./boot.ts";
import { isBzImage, loadBzImage } from "./bzimage.ts";
import { isElf } from "./elf.ts";
import { loadPvh } from "./pvh.ts";

/**
 * Writes the kernel, its initrd and command line and a description of the machine into guest
 * memory. Throws {@linkcode BootError} before anything is written if one of them is unusable.
 */
export function loadKernel(memory: GuestMemory, boot: KernelBoot): InitialCpu {
  const { name, bytes } = boot.kernel;
  if (isElf(bytes)) return loadPvh(memory, boot);
  if (isBzImage(bytes)) return loadBzImage(memory, boot);
  throw new BootError(
    `could not load kernel '${name}': neither a Linux bzImage nor an ELF kernel with a PVH entry`,
  );
}
