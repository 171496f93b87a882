/** The text of -help. */
import type { Option, OptionGroup } from "./option.ts";
import { versionText } from "./version.ts";

/** Column at which an option's description starts. */
const indent = 16;

function describe({ names, argument, help }: Option): string {
  const heads = names.map((name) => `-${name}`).join(" or ");
  const head = argument === undefined ? heads : `${heads} ${argument}`;
  const lines = help.map((line) => " ".repeat(indent) + line);
  const [first = "", ...rest] = help;
  if (head.length >= indent) return [head, ...lines].join("\n");
  return [head.padEnd(indent) + first, ...rest.map((line) => " ".repeat(indent) + line)].join("\n");
}

/** What to type, for who has typed nothing else than the program's name. */
export const usage = [
  "usage: molt [options] [disk_image]",
  "       molt inspect FILE...",
  "       molt check --qmp ADDRESS [COMMAND...]",
  "",
  "A guest starts from a kernel, for example:",
  "  molt -accel kvm -m 512M -nographic -kernel vmlinuz -initrd initrd.img -append console=ttyS0",
  "'molt -help' lists all options.",
].join("\n");

/** Every option with its argument and what it does. */
export function helpText(groups: readonly OptionGroup[]): string {
  const shown = groups.map(({ title, options }) => ({
    title,
    options: options.filter(({ help }) => help.length > 0),
  })).filter(({ options }) => options.length > 0);
  return [
    versionText(),
    "usage: molt [options] [disk_image]",
    "       molt inspect FILE...",
    "       molt check --qmp ADDRESS [COMMAND...]",
    "       molt check --qmp ADDRESS [COMMAND...]",
    "",
    "'disk_image' is a raw hard disk image",
    ...shown.map(({ title, options }) => `\n${title}:\n${options.map(describe).join("\n")}`),
    "",
    "When using -nographic, press 'ctrl-a h' to get some help.",
  ].join("\n");
}
