/** The balloon, where there is one. */
import type { BalloonControl } from "./context.ts";
import { CommandError } from "./errors.ts";

/** Throws, as QEMU says it, if there is none. */
export function presentBalloon(balloon: BalloonControl | undefined): BalloonControl {
  if (balloon === undefined) {
    throw new CommandError("No balloon device has been activated", "DeviceNotActive");
  }
  return balloon;
}
