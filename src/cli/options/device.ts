/** -device: virtio devices and their ports. */
import { InformationRequest } from "../information.ts";
import { OptionError } from "../../configuration/errors.ts";
import {
  describeProperties,
  given,
  type PropertiesOf,
  type PropertyTable,
  withDefaults,
} from "../../configuration/property.ts";
import { readProperties, readProperty, type Source } from "../property_reader.ts";
import { identifierHint, type Tree, type TreeObject } from "../syntax.ts";
import {
  discriminator,
  isJson,
  type Occurrence,
  type Option,
  type OptionGroup,
  readList,
  without,
} from "../option.ts";
import { parseJsonObject } from "../json.ts";
import { isIdentifier } from "../../configuration/values.ts";
import type { GlobalProperty } from "../../configuration/machine.ts";
import {
  classesOf,
  deviceAdvice,
  deviceClasses,
  type DeviceConfig,
  type DeviceDriver,
  deviceModels,
  isDeviceDriver,
  virtioMmioProperties,
} from "../../configuration/device_models.ts";
import { type DeviceDependencies, DeviceReferences } from "./device_references.ts";

/** A -device before the globals are known. */
interface GivenDevice {
  readonly driver: DeviceDriver;
  readonly values: TreeObject;
  readonly source: Source;
}

export class DeviceOptions implements OptionGroup {
  readonly title = "Devices";
  readonly #devices: GivenDevice[] = [];
  readonly #ids = new Set<string>();

  readonly options: readonly Option[] = [{
    names: ["device"],
    argument: "driver[,prop=value[,...]]",
    help: [
      "add a device ('-device help' for the models, '-device MODEL,help' for properties),",
      "or as JSON: '{\"driver\":MODEL,...}'",
    ],
    apply: (occurrence) => this.#device(occurrence),
  }];

  #device(occurrence: Occurrence): void {
    const { argument, where } = occurrence;
    const json = isJson(argument);
    const { values, help } = json
      ? { values: parseJsonObject(argument, where), help: false }
      : readList(occurrence, "driver");
    const asked = values["driver"];
    if (asked === "help" || asked === "?") throw new InformationRequest(listModels());
    const driver = discriminator(values, "driver", where);
    if (!isDeviceDriver(driver)) {
      const { message, hint } = deviceAdvice(driver);
      throw new OptionError(`${where}${message}`, hint);
    }
    if (help) {
      throw new InformationRequest(
        `${driver} options:\n${describeProperties(deviceModels[driver].properties)}`,
      );
    }
    const { id } = values;
    if (typeof id === "string") {
      if (!isIdentifier(id)) {
        throw new OptionError(`${where}Parameter 'id' expects an identifier`, identifierHint);
      }
      if (this.#ids.has(id)) {
        throw new OptionError(
          json ? `${where}Duplicate device ID '${id}'` : `${where}Duplicate ID '${id}' for device`,
        );
      }
      this.#ids.add(id);
    }
    const source: Source = { dialect: json ? "json" : "keyval", where, owner: driver };
    this.#devices.push({ driver, values: without(values, "driver"), source });
  }

  /** The devices, with the defaults that `globals` set, and what they name checked. */
  finish(
    globals: readonly GlobalProperty[],
    dependencies: DeviceDependencies,
  ): readonly DeviceConfig[] {
    const references = new DeviceReferences(dependencies);
    return this.#devices.map(({ driver, values, source }) => {
      const { id, bus } = values;
      const device = {
        ...readDevice(driver, without(values, "id", "bus"), source, globals),
        ...given({ id: asText(id, "id", source), bus: asText(bus, "bus", source) }),
      };
      references.check(device, source.where);
      return device;
    });
  }
}

function asText(value: Tree | undefined, name: string, { where }: Source): string | undefined {
  if (value === undefined || typeof value === "string") return value;
  throw new OptionError(`${where}Invalid parameter type for '${name}', expected: string`);
}

/** Headings of `-device help`, in QEMU's order. */
const categories = ["Storage devices", "Network devices", "Input devices", "Misc devices"];

function listModels(): string {
  const models = Object.entries(deviceModels).toSorted(([a], [b]) => a < b ? -1 : 1);
  return categories.flatMap((title) => {
    const listed = models.filter(([, { category }]) => category === title);
    const buses = new Set(listed.map(([, { bus }]) => bus));
    return [...buses].toSorted().map((bus) => {
      const lines = listed.filter((model) => model[1].bus === bus)
        .map(([name]) => `name "${name}", bus ${bus}`);
      return `${title}:\n${lines.join("\n")}`;
    });
  }).join("\n\n");
}

/** Reads a device's properties by its model's table. */
function readDevice(
  driver: DeviceDriver,
  values: TreeObject,
  source: Source,
  globals: readonly GlobalProperty[],
): DeviceConfig {
  const table = applyGlobals(driver, deviceModels[driver].properties, source, globals);
  // The table that was read is the one of the driver.
  return { driver, properties: readProperties(table, source, values) } as DeviceConfig;
}

/** Whether -global's `driver` is a class of some device. */
export function isDeviceClass(driver: string): boolean {
  return isDeviceDriver(driver) ||
    driver === "device" || deviceClasses.some((name) => name === driver);
}

/** `table` with the defaults that -global sets for `owner` and the classes it belongs to. */
function applyGlobals<Table extends PropertyTable>(
  owner: DeviceDriver,
  table: Table,
  { where }: Source,
  globals: readonly GlobalProperty[],
): Table {
  const classes = classesOf(owner);
  const defaults: Record<string, unknown> = {};
  for (const { driver, property: name, value } of globals) {
    if (!classes.includes(driver)) continue;
    const complaint = `${where}can't apply global ${driver}.${name}=${value}: `;
    defaults[name] = readNamed(table, name, value, complaint, owner);
  }
  return Object.keys(defaults).length === 0 ? table : withDefaults(table, defaults);
}

/** Reads the one property `name` of a table. */
function readNamed(
  table: PropertyTable,
  name: string,
  value: string,
  where: string,
  owner: string,
): unknown {
  const property = Object.hasOwn(table, name) ? table[name] : undefined;
  if (property === undefined) {
    throw new OptionError(`${where}Property '${owner}.${name}' not found`);
  }
  return readProperty(property, value, name, { dialect: "keyval", where, owner });
}

/** What -global says of the virtio-mmio transports. */
export function virtioMmio(
  globals: readonly GlobalProperty[],
): PropertiesOf<typeof virtioMmioProperties> {
  const owner = "virtio-mmio";
  const defaults: Record<string, unknown> = {};
  for (const { driver, property: name, value } of globals) {
    if (driver !== owner) continue;
    const complaint = `can't apply global ${owner}.${name}=${value}: `;
    defaults[name] = readNamed(virtioMmioProperties, name, value, complaint, owner);
  }
  const table = withDefaults(virtioMmioProperties, defaults);
  return readProperties(table, { dialect: "keyval", where: "", owner }, {});
}
