/** Character devices and descriptors. */
import { chardevFromProperties, parseProperties } from "../../../backends/chardev_options.ts";
import type { ChardevOptions } from "../../../configuration/chardev.ts";
import { CommandError } from "../../errors.ts";
import { defineHumanCommand, type HumanCommand } from "../command.ts";
import { text } from "../parameters.ts";

function options(properties: string, id?: string): ChardevOptions {
  const all = new Map(parseProperties(properties, "backend"));
  if (id !== undefined) all.set("id", id);
  return chardevFromProperties(all);
}

export const chardevCommands: readonly HumanCommand[] = [
  defineHumanCommand({
    names: "chardev-add",
    help: "add chardev",
    parameters: { args: text },
    run: async ({ context }, { args }) => {
      await context.chardevs.create(options(args));
    },
  }),
  defineHumanCommand({
    names: "chardev-change",
    help: "change chardev",
    parameters: { id: text, args: text },
    run: async ({ context }, { id, args }) => {
      await context.chardevs.change(options(args, id));
    },
  }),
  defineHumanCommand({
    names: "chardev-remove",
    help: "remove chardev",
    parameters: { id: text },
    run: ({ context }, { id }) => context.chardevs.remove(id),
  }),
  defineHumanCommand({
    names: "chardev-send-break",
    help: "send a break on chardev",
    parameters: { id: text },
    run: ({ context }, { id }) => context.chardevs.sendBreak(id),
  }),
  defineHumanCommand({
    names: "getfd",
    help: "receive a file descriptor via SCM rights and assign it a name",
    parameters: { fdname: text },
    run: ({ context, takeDescriptor }, { fdname }) => {
      const descriptor = takeDescriptor();
      if (descriptor === undefined) {
        throw new CommandError("No file descriptor supplied via SCM_RIGHTS");
      }
      context.descriptors.setNamed(fdname, descriptor);
    },
  }),
  defineHumanCommand({
    names: "closefd",
    help: "close a file descriptor previously passed via SCM rights",
    parameters: { fdname: text },
    run: ({ context }, { fdname }) => context.descriptors.closeNamed(fdname),
  }),
];
