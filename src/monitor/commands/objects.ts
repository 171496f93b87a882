/** The object tree, and devices that come and go: on this board none do. */
import { commandArguments as taken } from "../../qapi/arguments.ts";
import * as z from "zod";
import { defineCommand } from "../command.ts";
import { CommandError } from "../errors.ts";
import type { JsonValue } from "../../json/value.ts";
import { listTypes } from "../object_types.ts";
import { anyValue, struct } from "../../qapi/types.ts";

export const objectCommands = [
  defineCommand({
    name: "qom-list",
    arguments: taken["qom-list"],
    returns: z.array(struct({ name: z.string(), type: z.string() })),
    run: ({ objects }, { path }) => objects.list(path).map((property) => ({ ...property })),
  }),
  defineCommand({
    name: "qom-get",
    arguments: taken["qom-get"],
    returns: anyValue,
    run: ({ objects }, { path, property }) => objects.get(path, property),
  }),
  defineCommand({
    name: "qom-set",
    arguments: struct({ path: z.string(), property: z.string(), value: anyValue }),
    run: ({ objects }, { path, property, value }) => objects.set(path, property, value),
  }),
  defineCommand({
    name: "qom-list-get",
    arguments: struct({ paths: z.array(z.string()) }),
    returns: z.array(struct({
      properties: z.array(struct({
        name: z.string(),
        type: z.string(),
        value: anyValue.optional(),
      })),
    })),
    run: ({ objects }, { paths }) =>
      paths.map((path) => ({
        properties: objects.list(path).map(({ name, type }) => {
          const value: JsonValue = objects.get(path, name);
          return { name, type, value };
        }),
      })),
  }),
  defineCommand({
    name: "qom-list-types",
    arguments: struct({ implements: z.string().optional(), abstract: z.boolean().optional() }),
    returns: z.array(struct({
      name: z.string(),
      abstract: z.boolean().optional(),
      parent: z.string().optional(),
    })),
    run: (_, { implements: name, abstract = false }) =>
      listTypes(name, abstract).map((type) => ({ ...type })),
  }),
  defineCommand({
    name: "device_add",
    // The properties of the device follow, whatever they are.
    arguments: z.looseObject({
      driver: z.string(),
      bus: z.string().optional(),
      id: z.string().optional(),
    }),
    run: ({ capabilities }, { driver }) => {
      if (!capabilities.isDeviceModel(driver)) {
        throw new CommandError(`'${driver}' is not a valid device model name`);
      }
      throw new CommandError("Bus 'virtio-mmio-bus' does not support hotplugging");
    },
  }),
  defineCommand({
    name: "device_del",
    arguments: struct({ id: z.string() }),
    run: ({ objects }, { id }) => {
      const path = id.startsWith("/") ? id : `/machine/peripheral/${id}`;
      if (!objects.has(path)) {
        throw new CommandError(`Device '${id}' not found`, "DeviceNotFound");
      }
      throw new CommandError("Bus 'virtio-mmio-bus' does not support hotplugging");
    },
  }),
];
