/** What devices of -device are called that were given no id, and where they are in the object tree. */
import type { DeviceConfig } from "../configuration/device_models.ts";

/** `/machine/peripheral/ID`, or the place among the devices without id. */
export function devicePath(device: DeviceConfig, devices: readonly DeviceConfig[]): string {
  if (device.id !== undefined) return `/machine/peripheral/${device.id}`;
  const nameless = devices.filter(({ id }) => id === undefined);
  return `/machine/peripheral-anon/device[${nameless.indexOf(device)}]`;
}

/** Its id, or its driver and its number among those of the driver. */
export function deviceName(device: DeviceConfig, devices: readonly DeviceConfig[]): string {
  if (device.id !== undefined) return device.id;
  const alike = devices.filter(({ driver }) => driver === device.driver);
  return `${device.driver}.${alike.indexOf(device)}`;
}
