/** What a migration address names beside sockets and programs: paths, and descriptors that are open already. */
import type { DescriptorStore } from "../backends/descriptor_store.ts";
import { asFd, Descriptor, isOpen } from "../native/descriptor.ts";
import { ChannelError } from "./channel.ts";

/** The descriptors that monitors were given. */
export type GivenDescriptors = Pick<DescriptorStore, "takeNamed" | "openPath">;

/**
 * The descriptor that a monitor was given under `name`, or the one of this number that whoever started the
 * process left open.
 */
export function takeDescriptor(name: string, given: GivenDescriptors): Descriptor {
  const named = given.takeNamed(name);
  if (named !== undefined) return named;
  if (!/^\d{1,9}$/.test(name) || !isOpen(Number(name))) {
    throw new ChannelError(`File descriptor named '${name}' has not been found`);
  }
  return new Descriptor(asFd(Number(name)));
}
