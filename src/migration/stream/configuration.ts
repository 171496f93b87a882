/**
 * The configuration: the first item after the header, by which both sides see that they agree. It is a
 * structure that is always at version 1, with the machine's type, those capabilities that change the
 * format, and the machine's UUID if it has one.
 */
import {
  array,
  byteArray,
  type Count,
  countOf,
  Field,
  readCount,
  type Siblings,
  type StateReader,
  type StateWriter,
  struct,
  subsection,
  u32,
  VmStateError,
} from "../../vmstate/vmstate.ts";
import { StreamError } from "./errors.ts";

/** Capabilities that are part of the configuration, in the order in which they are written. */
export const streamCapabilities = ["x-ignore-shared", "mapped-ram"] as const;

/** A capability that changes the stream's format. */
export type StreamCapability = typeof streamCapabilities[number];

/** What both sides of a migration have to agree on. */
export interface StreamConfiguration {
  /** The machine's type, `microvm`. */
  readonly machineType: string;
  /** Capabilities that are on. */
  readonly capabilities: readonly StreamCapability[];
  /** The machine's UUID (16 bytes); sent if it has one and validate-uuid is on. */
  readonly uuid?: Uint8Array;
}

/** Longest machine type read. */
const machineTypeMaximum = 255;
/** Most capabilities read. */
const capabilityMaximum = 64;

/** Text whose length a sibling holds. */
class NameField extends Field<string> {
  readonly type = "buffer";
  readonly fixedSize = undefined;
  readonly #length: Count;

  constructor(length: Count) {
    super();
    this.#length = length;
  }

  read(reader: StateReader, siblings: Siblings): string {
    return reader.latin1(readCount(this.#length, reader, siblings));
  }

  write(writer: StateWriter, value: string, siblings: Siblings): void {
    if (value.length !== countOf(this.#length, siblings)) {
      throw new VmStateError(`'${value}' has another length than it is announced with`);
    }
    writer.latin1(value);
  }

  override size(value: string): number {
    return value.length;
  }

  zero(): string {
    return "";
  }
}

/** The name of a capability. */
class CapabilityField extends Field<string> {
  readonly type = "capability";
  readonly fixedSize = undefined;

  read(reader: StateReader): string {
    return reader.string8();
  }

  write(writer: StateWriter, value: string): void {
    writer.string8(value);
  }

  override size(value: string): number {
    return 1 + value.length;
  }

  zero(): string {
    return "";
  }
}

/** The structure on the wire. */
export const configurationState = struct({
  name: "configuration",
  version: 1,
  minimumVersion: 0,
  fields: { len: u32(), name: new NameField({ key: "len", maximum: machineTypeMaximum }) },
  subsections: {
    targetPageBits: subsection({
      name: "configuration/target-page-bits",
      version: 1,
      key: "targetPageBits",
      field: u32(),
    }),
    capabilities: subsection({
      name: "configuration/capabilities",
      version: 1,
      fields: {
        capsCount: u32(),
        capabilities: array(new CapabilityField(), {
          key: "capsCount",
          maximum: capabilityMaximum,
        }),
      },
    }),
    uuid: subsection({
      name: "configuration/uuid",
      version: 1,
      field: byteArray(16, { name: "uuid.data" }),
    }),
  },
});

/** Reads the structure (without the byte before it). */
export function readConfiguration(reader: StateReader): StreamConfiguration {
  const offset = reader.streamOffset;
  const state = configurationState.decode(reader, configurationState.version);
  if (state.targetPageBits !== undefined && state.targetPageBits !== 12) {
    throw new StreamError(`Received ARCH page bits ${state.targetPageBits}, local are 12`, offset);
  }
  const capabilities = (state.capabilities?.capabilities ?? []).map((name) => {
    const capability = streamCapabilities.find((known) => known === name);
    if (capability === undefined) {
      throw new StreamError(`Received unknown capability ${name}`, offset);
    }
    return capability;
  });
  return {
    machineType: state.name,
    capabilities,
    ...(state.uuid === undefined ? {} : { uuid: state.uuid }),
  };
}

/** The structure's state for a configuration. */
function stateOf(configuration: StreamConfiguration) {
  const capabilities = streamCapabilities.filter((name) =>
    configuration.capabilities.includes(name)
  );
  return {
    len: configuration.machineType.length,
    name: configuration.machineType,
    capabilities: capabilities.length === 0
      ? undefined
      : { capsCount: capabilities.length, capabilities },
    uuid: configuration.uuid,
  };
}

/** Writes the structure (without the byte before it). */
export function writeConfiguration(writer: StateWriter, configuration: StreamConfiguration): void {
  configurationState.encode(writer, stateOf(configuration));
}

/** The structure's members in the description. */
export function describeConfiguration(configuration: StreamConfiguration): string {
  return configurationState.describe(stateOf(configuration));
}

/**
 * Throws StreamError if a received configuration does not fit the local one. The machine type is
 * compared over the received length only, as QEMU does.
 */
export function checkConfiguration(
  received: StreamConfiguration,
  local: StreamConfiguration,
  offset = 0,
): void {
  if (!local.machineType.startsWith(received.machineType)) {
    throw new StreamError(
      `Machine type received is '${received.machineType}' and local is '${local.machineType}'`,
      offset,
    );
  }
  for (const name of streamCapabilities) {
    const there = received.capabilities.includes(name);
    const here = local.capabilities.includes(name);
    if (there === here) continue;
    const [is, was] = here ? ["on", "off"] : ["off", "on"];
    throw new StreamError(`Capability ${name} is ${is}, but received capability is ${was}`, offset);
  }
  if (received.uuid === undefined || local.uuid === undefined) return;
  const [there, here] = [formatUuid(received.uuid), formatUuid(local.uuid)];
  if (there !== here) {
    throw new StreamError(`UUID received is ${there} and local is ${here}`, offset);
  }
}

/** 16 bytes as 8-4-4-4-12 hex digits. */
export function formatUuid(uuid: Uint8Array): string {
  const digits = Array.from(uuid, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [
    digits.slice(0, 8),
    digits.slice(8, 12),
    digits.slice(12, 16),
    digits.slice(16, 20),
    digits.slice(20),
  ].join("-");
}
