/** The guest's RAM for the C library's device threads, which record what they write as others do. */
import { DeviceMemory } from "../native/device_memory.ts";
import type { GuestMemory } from "./guest_memory.ts";
import { PAGE_SIZE } from "./ram_block.ts";

/** Describes `memory` to device threads. `owner` disposes it, which must be after the threads' end. */
export function createDeviceMemory(memory: GuestMemory, owner: DisposableStack): DeviceMemory {
  const { regions } = memory;
  const devices = owner.use(
    new DeviceMemory(regions.map(({ address, size, block, blockOffset }) => ({
      guestAddress: address,
      size,
      hostAddress: block.mapping.address + BigInt(blockOffset),
    }))),
  );
  owner.use(memory.addWriter((bitmaps) =>
    regions.forEach(({ block, blockOffset }, index) => {
      const bitmap = bitmaps?.get(block)?.address ?? 0n;
      devices.recordWrites(index, bitmap, blockOffset / PAGE_SIZE);
    })
  ));
  return devices;
}
