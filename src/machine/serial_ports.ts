/** Which port of which virtio-serial device each virtconsole and virtserialport is. */
import type { DeviceConfig } from "../configuration/device_models.ts";

export type PortConfig = Extract<DeviceConfig, { driver: "virtconsole" | "virtserialport" }>;
export type SerialConfig = Extract<DeviceConfig, { driver: "virtio-serial-device" }>;

/** `auto` of the property nr. */
const AUTOMATIC = 0xffffffff;

/** A port with its number. */
export interface NumberedPort {
  readonly config: PortConfig;
  readonly number: number;
}

/**
 * The ports of each virtio-serial device, in the order of the command line: without `bus` those of the
 * first device. A port without number gets the lowest one that is free; 0 is for consoles.
 */
export function assignPorts(
  devices: readonly DeviceConfig[],
): ReadonlyMap<SerialConfig, readonly NumberedPort[]> {
  const buses: { name: string; config: SerialConfig; ports: NumberedPort[] }[] = [];
  for (const config of devices) {
    if (config.driver === "virtio-serial-device") {
      const { id } = config;
      const name = id === undefined ? `virtio-serial-bus.${buses.length}` : `${id}.0`;
      buses.push({ name, config, ports: [] });
    } else if (config.driver === "virtconsole" || config.driver === "virtserialport") {
      const bus = buses.find(({ name }) => config.bus === undefined || config.bus === name);
      if (bus === undefined) throw new Error(`-device ${config.driver}: there is no bus for it`);
      const taken = new Set(bus.ports.map(({ number }) => number));
      let number = config.properties.nr;
      if (number === AUTOMATIC) {
        number = config.driver === "virtconsole" ? 0 : 1;
        while (taken.has(number)) number++;
      }
      bus.ports.push({ config, number });
    }
  }
  return new Map(buses.map(({ config, ports }) => [config, ports]));
}
