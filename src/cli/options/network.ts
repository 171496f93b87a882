/** Networking: -netdev, and the older -nic and -net with `none`. */
import { InformationRequest } from "../information.ts";
import { OptionError } from "../../configuration/errors.ts";
import { describeProperties, given, required, text } from "../../configuration/property.ts";
import { readProperties } from "../property_reader.ts";
import { parseKeyValues, type TreeObject } from "../syntax.ts";
import {
  isJson,
  type Occurrence,
  type Option,
  type OptionGroup,
  readList,
  without,
} from "../option.ts";
import { parseJsonObject } from "../json.ts";
import type { NetdevConfig } from "../../configuration/network.ts";
import { insteadOf, isTreeType, netdevTable, netdevTypes, readNetdev } from "./netdev.ts";

const idProperties = { id: required(text("Name of the backend")) };

export class NetworkOptions implements OptionGroup {
  readonly title = "Network options";
  readonly #netdevs = new Map<string, NetdevConfig>();

  readonly options: readonly Option[] = [
    {
      names: ["netdev"],
      argument: "type,id=name[,prop=value[,...]]",
      help: [
        "create a network backend: tap (ifname=, script=no, or fd=), stream (addr.type=unix,",
        "addr.path=PATH for passt), dgram, socket; '-netdev TYPE,help' for properties",
      ],
      apply: (occurrence) => this.#netdev(occurrence),
    },
    {
      names: ["nic"],
      argument: "none",
      help: ["accepted: there is no default network card"],
      apply: (occurrence) => noCard(occurrence),
    },
    {
      names: ["net"],
      argument: "none",
      help: ["accepted: there is no default network card"],
      apply: (occurrence) => noCard(occurrence),
    },
  ];

  #netdev(occurrence: Occurrence): void {
    const { where } = occurrence;
    const { values, dialect, help } = readText(occurrence);
    const type = values["type"];
    if (type === "help" || type === "?") {
      throw new InformationRequest(["Available netdev backend types:", ...netdevTypes].join("\n"));
    }
    const table = typeof type === "string" ? netdevTable(type) : undefined;
    if (help && table !== undefined) {
      throw new InformationRequest(`${type} options:\n${describeProperties(table)}`);
    }
    const source = { dialect, where } as const;
    if (dialect === "json" && type === undefined) {
      throw new OptionError(`${where}Parameter 'type' is missing`);
    }
    const { id } = readProperties(idProperties, source, given({ id: values["id"] }));
    const netdev: NetdevConfig = { id, ...readNetdev(without(values, "id"), source) };
    if (this.#netdevs.has(id)) {
      const what = dialect === "visitor" ? " for netdev" : "";
      throw new OptionError(`${where}Duplicate ID '${id}'${what}`);
    }
    this.#netdevs.set(id, netdev);
  }

  finish(): { readonly netdevs: readonly NetdevConfig[] } {
    return { netdevs: [...this.#netdevs.values()] };
  }
}

/** JSON, a key-value tree for the types that have one, else an option list. */
function readText(occurrence: Occurrence): {
  readonly values: TreeObject;
  readonly dialect: "json" | "keyval" | "visitor";
  readonly help: boolean;
} {
  const { argument, where } = occurrence;
  if (isJson(argument)) {
    return { values: parseJsonObject(argument, where), dialect: "json", help: false };
  }
  const type = /(?:^|,)type=([^,]*)/.exec(argument)?.[1] ?? /^[^,=]*(?=,|$)/.exec(argument)?.[0];
  if (isTreeType(type)) {
    const { tree, help } = parseKeyValues(argument, where, "type");
    return { values: tree, dialect: "keyval", help };
  }
  return { ...readList(occurrence, "type"), dialect: "visitor" };
}

/** Takes `none` only. */
function noCard(occurrence: Occurrence): void {
  const { where } = occurrence;
  const { values } = readList(occurrence, "type");
  const { type } = values;
  if (type === "none") return;
  if (type === undefined) throw new OptionError(`${where}Parameter 'type' is missing`);
  throw new OptionError(`${where}'type=${type}' is not available: ${cardAdvice(type, values)}`);
}

/** What the option would be here: a backend and a card, each by an option of its own. */
function cardAdvice(type: string, values: Readonly<Record<string, string>>): string {
  const instead = insteadOf(type);
  if (instead !== undefined) return instead;
  const { mac, model: _model, macaddr = mac, id = "net0", netdev = id, ...others } = values;
  const address = macaddr === undefined ? "" : `,mac=${macaddr}`;
  const card = `'-device virtio-net-device,netdev=${netdev}${address}'`;
  if (type === "nic") return `use '-netdev TYPE,id=${netdev},...' and ${card}`;
  const rest = Object.entries(without(others, "type")).map(([name, value]) => `,${name}=${value}`);
  return `use '-netdev ${type},id=${netdev}${rest.join("")}' and ${card}`;
}
