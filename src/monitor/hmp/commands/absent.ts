/** `info` of what the machine does not have: what QEMU says of a board without it. */
import { defineHumanCommand, type HumanCommand } from "../command.ts";

/** Subject, help, what is shown. */
const absent: readonly (readonly [names: string, help: string, text: string])[] = [
  ["block-jobs", "show progress of ongoing block device operations", "No active jobs\n"],
  ["dump", "Display the latest dump status", "Status: none\n"],
  ["memory-devices", "show memory devices", ""],
  ["mice", "show which guest mouse is receiving events", "No mouse devices connected\n"],
  ["numa", "show NUMA information", "0 nodes\n"],
  ["pci", "show PCI info", ""],
  ["replay", "show record/replay information", "Record/replay is not active\n"],
  ["spice", "show the spice server status", "Server: disabled\n"],
  ["tpm", "show the TPM device", ""],
  ["vnc", "show the vnc server status", "None\n"],
];

/** Subject, help, the error. */
const refused: readonly (readonly [names: string, help: string, error: string])[] = [
  ["jit", "show dynamic compiler info", "JIT information is only available with accel=tcg"],
  ["usb", "show guest USB devices", "USB support not enabled"],
  ["vm-generation-id", "Show VM Generation ID", "VM Generation ID device not found"],
];

export const absentInfo: readonly HumanCommand[] = [
  ...absent.map(([names, help, text]) =>
    defineHumanCommand({ names, help, parameters: {}, run: ({ print }) => print(text) })
  ),
  ...refused.map(([names, help, error]) =>
    defineHumanCommand({
      names,
      help,
      parameters: {},
      run: () => {
        throw new Error(error);
      },
    })
  ),
];
