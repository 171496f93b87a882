/**
 * -global migration.NAME=VALUE: parameters and capabilities by their property names, and properties
 * that decide what a stream holds.
 */
import { type CapabilityName, capabilityNames, capabilityTable } from "./capabilities.ts";
import { MigrationError } from "./errors.ts";
import { boolean, type ParameterType, uint8 } from "./parameter_types.ts";
import { parameterDeclarations } from "./parameters.ts";

/** What streams hold besides RAM and devices. */
export interface StreamProperties {
  /** Notify the destination that the guest has stopped (SWITCHOVER_START). */
  readonly sendSwitchoverStart: boolean;
  /** Send what the machine was doing (section `globalstate`). */
  readonly storeGlobalState: boolean;
  /** multifd: the end of each RAM section synchronises, as before QEMU 8.1, instead of a record of its own. */
  readonly flushAfterEachSection: boolean;
  /**
   * With the capability switchover-ack: a destination acknowledges once, whatever devices it has, and a
   * source waits for that, as before QEMU 11.1. Otherwise the source waits for devices that ask for it,
   * of which there are none.
   */
  readonly switchoverAckLegacy: boolean;
}

/** Streams as QEMU 11.1 writes them by itself. */
export const defaultStreamProperties: StreamProperties = {
  sendSwitchoverStart: true,
  storeGlobalState: true,
  flushAfterEachSection: false,
  switchoverAckLegacy: false,
};

/** What -global said. */
export interface MigrationProperties {
  readonly parameters: ReadonlyMap<string, unknown>;
  readonly capabilities: readonly CapabilityName[];
  readonly stream: StreamProperties;
}

/** Properties for streams of old machines: molt has the value that is current, and no other. */
const fixedProperties: Readonly<Record<string, readonly [ParameterType<unknown>, unknown]>> = {
  "send-configuration": [boolean as ParameterType<unknown>, true],
  "send-section-footer": [boolean as ParameterType<unknown>, true],
  "multifd-clean-tls-termination": [boolean as ParameterType<unknown>, true],
  "x-preempt-pre-7-2": [boolean as ParameterType<unknown>, false],
  "x-clear-bitmap-shift": [uint8 as ParameterType<unknown>, 18],
};

const parametersByProperty = new Map(
  [...parameterDeclarations].flatMap(([name, { property, type }]) =>
    property === undefined ? [] : [[property, { name, type }]]
  ),
);
const capabilitiesByProperty = new Map(
  capabilityNames.map((name) => [capabilityTable[name].property, name]),
);

/** Reads the properties given for the driver `migration`, the last one of a name counting. */
export function readMigrationProperties(
  globals: readonly {
    readonly driver: string;
    readonly property: string;
    readonly value: string;
  }[],
): MigrationProperties {
  const parameters = new Map<string, unknown>();
  const capabilities = new Map<CapabilityName, boolean>();
  let stream = defaultStreamProperties;
  for (const { driver, property, value } of globals) {
    if (driver !== "migration") continue;
    try {
      const parameter = parametersByProperty.get(property);
      const capability = capabilitiesByProperty.get(property);
      if (parameter !== undefined) {
        parameters.set(parameter.name, parameter.type.parseProperty(property, value));
      } else if (capability !== undefined) {
        capabilities.set(capability, boolean.parseProperty(property, value));
      } else if (property === "send-switchover-start") {
        stream = { ...stream, sendSwitchoverStart: boolean.parseProperty(property, value) };
      } else if (property === "multifd-flush-after-each-section") {
        stream = { ...stream, flushAfterEachSection: boolean.parseProperty(property, value) };
      } else if (property === "switchover-ack-legacy") {
        stream = { ...stream, switchoverAckLegacy: boolean.parseProperty(property, value) };
      } else if (property === "store-global-state") {
        stream = { ...stream, storeGlobalState: boolean.parseProperty(property, value) };
      } else {
        checkFixed(property, value);
      }
    } catch (cause) {
      if (!(cause instanceof MigrationError)) throw cause;
      throw new MigrationError(
        `can't apply global migration.${property}=${value}: ${cause.message}`,
        { cause },
      );
    }
  }
  const on = [...capabilities].filter(([, state]) => state).map(([name]) => name);
  return { parameters, capabilities: on, stream };
}

function checkFixed(property: string, value: string): void {
  const fixed = fixedProperties[property];
  if (fixed === undefined) {
    throw new MigrationError(`Property 'migration.${property}' not found`);
  }
  const [type, only] = fixed;
  if (type.parseProperty(property, value) !== only) {
    throw new MigrationError(`only ${property}=${type.show(only)} is supported`);
  }
}
