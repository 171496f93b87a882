/** The guest's RAM for the C library's device threads, which record what they write as others do. */
import { DeviceMemory } from "../native/device_memory.ts";
import type { DeviceWriteBitmaps, GuestMemory, MemoryRegion } from "./guest_memory.ts";
import { PAGE_SIZE } from "./ram_block.ts";

/** Describes `memory` to device threads. `owner` disposes it, which must be after the threads' end. */
export function createDeviceMemory(memory: GuestMemory, owner: DisposableStack): DeviceMemory {
  const hostAddress = ({ block, blockOffset }: MemoryRegion) =>
    block.mapping.address + BigInt(blockOffset);
  const devices = owner.use(
    new DeviceMemory(memory.regions.map((region) => ({
      guestAddress: region.address,
      size: region.size,
      hostAddress: hostAddress(region),
    }))),
  );
  let recording: DeviceWriteBitmaps;
  const record = ({ block, blockOffset }: MemoryRegion, index: number) => {
    const bitmap = recording?.get(block)?.address ?? 0n;
    devices.recordWrites(index, bitmap, blockOffset / PAGE_SIZE);
  };
  owner.use(memory.addWriter((bitmaps) => {
    recording = bitmaps;
    memory.regions.forEach(record);
  }));
  owner.use(memory.addView((index, region) => {
    devices.moveRegion(index, hostAddress(region));
    record(region, index);
  }));
  return devices;
}
