/** Event descriptors (eventfd(2)). */
import { Descriptor } from "./descriptor.ts";
import { unwrap } from "./errors.ts";
import { native } from "./library.ts";

/** A non-blocking eventfd. */
export function createEvent(): Descriptor {
  return new Descriptor(unwrap(native.molt_eventfd(), "Could not create an eventfd"));
}
