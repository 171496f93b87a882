/** The object tree. */
import { CommandError } from "../../errors.ts";
import { writeJson } from "../../../json/writer.ts";
import { defineHumanCommand, type HumanCommand } from "../command.ts";
import { optionalText, text } from "../parameters.ts";

export const objectCommands: readonly HumanCommand[] = [
  defineHumanCommand({
    names: "qom-list",
    help: "list QOM properties",
    parameters: { path: optionalText },
    run: ({ context, print }, { path }) => {
      if (path === undefined) return print("/\n");
      for (const { name, type } of context.objects.list(path)) print(`${name} (${type})\n`);
    },
  }),
  defineHumanCommand({
    names: "qom-get",
    help: "print QOM property",
    parameters: { path: text, property: text },
    run: ({ context, print }, { path, property }) =>
      print(`${writeJson(context.objects.get(path, property), true)}\n`),
  }),
  defineHumanCommand({
    names: "device_add",
    help: "add device, like -device on the command line",
    parameters: { device: text },
    run: ({ context }, { device }) => {
      const driver = device.split(",")[0] ?? "";
      if (!context.capabilities.isDeviceModel(driver)) {
        throw new CommandError(`'${driver}' is not a valid device model name`);
      }
      throw new CommandError("Bus 'virtio-mmio-bus' does not support hotplugging");
    },
  }),
  defineHumanCommand({
    names: "device_del",
    help: "remove device",
    parameters: { id: text },
    run: ({ context }, { id }) => {
      if (!context.objects.has(`/machine/peripheral/${id}`)) {
        throw new CommandError(`Device '${id}' not found`);
      }
      throw new CommandError("Bus 'virtio-mmio-bus' does not support hotplugging");
    },
  }),
];
