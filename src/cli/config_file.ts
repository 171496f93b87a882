/**
 * Files of options, as -readconfig takes them:
 *
 *     # a comment
 *     [chardev "c0"]
 *       backend = "null"
 *
 * is `-chardev id=c0,backend=null`.
 */
import { OptionError } from "../configuration/errors.ts";

/** A group as the option it stands for. */
export interface ConfigFileOption {
  /** The option's name without dashes. */
  readonly name: string;
  readonly argument: string;
}

/** Groups whose names are not those of their options. */
const groupNames: ReadonlyMap<string, string> = new Map([
  ["boot-opts", "boot"],
  ["memory", "m"],
  ["smp-opts", "smp"],
]);

/** Options that are groups of the same name. */
const groups = new Set([
  ...["accel", "action", "add-fd", "blockdev", "chardev", "device", "drive", "fw_cfg", "global"],
  ...["machine", "mon", "msg", "name", "netdev", "object", "overcommit", "rtc", "run-with"],
  ...["sandbox", "trace"],
]);

/** Reads the text of a file. `where` (`-readconfig FILE: `) stands before errors. */
export function parseConfigFile(text: string, where: string): readonly ConfigFileOption[] {
  const options: { name: string; properties: string[] }[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (/^\s*(?:#.*)?$/.test(line)) continue;
    const group = /^\s*\[\s*([^\]"\s]+)(?:\s+"([^"]*)")?\s*\]\s*$/.exec(line);
    if (group !== null) {
      const [, name = "", id] = group;
      const option = groups.has(name) ? name : groupNames.get(name);
      if (option === undefined) throw new OptionError(`${where}There is no option group '${name}'`);
      options.push({ name: option, properties: id === undefined ? [] : [property("id", id)] });
      continue;
    }
    const [, key, value] = /^\s*([^\s=]+)\s*=\s*"([^"]*)"\s*$/.exec(line) ?? [];
    if (key === undefined || value === undefined) {
      throw new OptionError(`${where}parse error in line ${index + 1}`);
    }
    const option = options.at(-1);
    if (option === undefined) throw new OptionError(`${where}no group defined`);
    option.properties.push(property(key, value));
  }
  return options.map(({ name, properties }) => ({ name, argument: properties.join(",") }));
}

function property(key: string, value: string): string {
  return `${key}=${value.replaceAll(",", ",,")}`;
}
