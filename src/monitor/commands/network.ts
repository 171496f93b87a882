/** Network cards. */
import { commandArguments as taken } from "../../qapi/arguments.ts";
import * as z from "zod";
import { defineCommand } from "../command.ts";
import type { CardInfo } from "../context.ts";
import { CommandError } from "../errors.ts";
import { integer, struct } from "../../qapi/types.ts";

const choice = z.enum(["normal", "none", "all"]);

/** qapi/net.json: RxFilterInfo. */
const filterInfo = struct({
  name: z.string(),
  promiscuous: z.boolean(),
  multicast: choice,
  unicast: choice,
  vlan: choice,
  "broadcast-allowed": z.boolean(),
  "multicast-overflow": z.boolean(),
  "unicast-overflow": z.boolean(),
  "main-mac": z.string(),
  "vlan-table": z.array(integer()),
  "unicast-table": z.array(z.string()),
  "multicast-table": z.array(z.string()),
});

function describeFilter({ name, filter }: CardInfo): z.output<typeof filterInfo> {
  return {
    name,
    promiscuous: filter.promiscuous,
    multicast: filter.multicast,
    unicast: filter.unicast,
    vlan: filter.vlan,
    "broadcast-allowed": filter.broadcast,
    "multicast-overflow": filter.multicastOverflow,
    "unicast-overflow": filter.unicastOverflow,
    "main-mac": filter.address,
    "vlan-table": [...filter.vlans],
    "unicast-table": [...filter.unicastTable],
    "multicast-table": [...filter.multicastTable],
  };
}

export const networkCommands = [
  defineCommand({
    name: "query-rx-filter",
    arguments: taken["query-rx-filter"],
    returns: z.array(filterInfo),
    run: ({ network }, { name }) => {
      const cards = network.cards().filter((card) => name === undefined || card.name === name);
      if (name !== undefined && cards.length === 0) {
        throw new CommandError(`invalid net client name: ${name}`);
      }
      return cards.map(describeFilter);
    },
  }),
  defineCommand({
    name: "announce-self",
    arguments: struct({
      initial: integer(),
      max: integer(),
      rounds: integer(),
      step: integer(),
      interfaces: z.array(z.string()).optional(),
      id: z.string().optional(),
    }),
    run: ({ network }, { interfaces, id, ...parameters }) => {
      network.announce(parameters, { interfaces, id });
    },
  }),
  defineCommand({
    name: "set_link",
    arguments: taken.set_link,
    run: ({ network }, { name, up }) => {
      if (!network.setLink(name, up)) {
        throw new CommandError(`Device '${name}' not found`, "DeviceNotFound");
      }
    },
  }),
];
