/**
 * What a monitor was given in place of a path: descriptors by name or number, and /dev/fdset/N, which
 * stands for one of a set.
 */
import type { DescriptorStore } from "../backends/descriptor_store.ts";
import { asFd, Descriptor, isOpen } from "../native/descriptor.ts";
import { openFile } from "../native/file.ts";
import { ChannelError } from "./channel.ts";

/** The descriptors that monitors were given. */
export type GivenDescriptors = Pick<
  DescriptorStore,
  "takeNamed" | "openFromSet" | "listSets"
>;

const SET_PREFIX = "/dev/fdset/";

/** The number of the set that `path` stands for; `undefined` for an ordinary path. */
export function descriptorSet(path: string): number | undefined {
  if (!path.startsWith(SET_PREFIX)) return undefined;
  const number = path.slice(SET_PREFIX.length);
  if (!/^\d{1,9}$/.test(number)) throw new ChannelError(`Could not parse fdset ${path}`);
  return Number(number);
}

/** Opens `path` with O_* `flags`, or duplicates the member of a set that was opened with such. */
export function openPath(path: string, flags: number, given: GivenDescriptors): Descriptor {
  const set = descriptorSet(path);
  if (set === undefined) return openFile(path, flags);
  if (!given.listSets().some(({ id }) => id === set)) {
    throw new ChannelError(`Failed to find fdset ${path}`);
  }
  return given.openFromSet(set, flags);
}

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
