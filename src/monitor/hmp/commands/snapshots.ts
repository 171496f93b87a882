/** Snapshots inside of disk images, which raw images cannot have: what QEMU says with such disks. */
import type { BlockControl } from "../../context.ts";
import { defineHumanCommand, type HumanCommand } from "../command.ts";
import { optionalText, text } from "../parameters.ts";

function refuse(block: BlockControl): never {
  const nodes = new Map(block.nodes().map((node) => [node.nodeName, node]));
  const writable = block.devices().find(({ inserted }) =>
    nodes.get(inserted ?? "")?.readOnly === false
  );
  throw new Error(
    writable === undefined
      ? "no block device can store vmstate for snapshot"
      : `Device '${writable.id}' is writable but does not support snapshots`,
  );
}

export const snapshotCommands: readonly HumanCommand[] = [
  defineHumanCommand({
    names: "savevm",
    help: "save a VM snapshot. If no tag is provided, a new snapshot is created",
    parameters: { tag: optionalText },
    run: ({ context }) => refuse(context.block),
  }),
  defineHumanCommand({
    names: "loadvm",
    help: "restore a VM snapshot from its tag",
    parameters: { tag: text },
    run: ({ context }) => refuse(context.block),
  }),
  defineHumanCommand({
    names: "delvm",
    help: "delete a VM snapshot from its tag",
    parameters: { tag: text },
    run: ({ context }) => refuse(context.block),
  }),
];

/** Subcommands of `info`. */
export const snapshotInfo: readonly HumanCommand[] = [
  defineHumanCommand({
    names: "snapshots",
    help: "show the currently saved VM snapshots",
    parameters: {},
    run: ({ context }) => refuse(context.block),
  }),
];
