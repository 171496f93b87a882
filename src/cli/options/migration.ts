/** Where the guest's state comes from: -incoming, -only-migratable. */
import { OptionError } from "../../configuration/errors.ts";
import { boolean, integer, list, required, text, tree } from "../../configuration/property.ts";
import { readProperties, type Source } from "../property_reader.ts";
import { isObject, type TreeObject } from "../syntax.ts";
import {
  discriminator,
  type Occurrence,
  type Option,
  type OptionGroup,
  readJsonOrTree,
  without,
} from "../option.ts";
import type {
  IncomingConfig,
  MigrationAddress,
  MigrationSocketAddress,
} from "../../configuration/migration.ts";

const channelProperties = {
  "channel-type": required(text("main or cpr")),
  addr: required(tree("Address")),
};

const inetProperties = {
  host: required(text()),
  port: required(text()),
  numeric: boolean(),
  to: integer("uint16"),
  ipv4: boolean(),
  ipv6: boolean(),
  "keep-alive": boolean(),
  "keep-alive-idle": integer("uint32"),
  "keep-alive-interval": integer("uint32"),
  "keep-alive-count": integer("uint32"),
};
const unixProperties = { path: required(text()), abstract: boolean(), tight: boolean() };
const descriptorProperties = { str: required(text()) };
const execProperties = { args: required(list(text())) };
const fileProperties = { filename: required(text()), offset: required(integer("uint64")) };

export class MigrationOptions implements OptionGroup {
  readonly title = "Migration options";
  #main: IncomingConfig["main"] | undefined;
  #cpr: MigrationAddress | undefined;
  #onlyMigratable = false;

  readonly options: readonly Option[] = [
    {
      names: ["incoming"],
      argument: "uri|defer|channel",
      help: [
        "wait for a guest to arrive: tcp:[host]:port, unix:path, fd:fd, file:path[,offset=n],",
        "exec:command, or a channel as JSON or key=value list; defer: a monitor",
        "will say. Given twice, the second with channel-type=cpr: where the CPR",
        "state comes from",
      ],
      apply: (occurrence) => this.#incoming(occurrence),
    },
    {
      names: ["only-migratable"],
      help: ["allow only devices that can migrate"],
      apply: () => {
        this.#onlyMigratable = true;
      },
    },
  ];

  #incoming(occurrence: Occurrence): void {
    const { argument, where } = occurrence;
    if (argument === "defer") {
      this.#main = { kind: "defer" };
    } else if (/^[a-zA-Z0-9+.-]+:/.test(argument)) {
      this.#main = { kind: "uri", uri: argument };
    } else {
      const { values, dialect, help } = readJsonOrTree(occurrence, "channel-type");
      if (help) throw new OptionError(`${where}Help is not available for this option`);
      const channel = readChannel(values, { dialect, where });
      if (channel.type === "cpr") this.#cpr = channel.address;
      else this.#main = { kind: "channel", address: channel.address };
    }
  }

  finish(): { readonly incoming?: IncomingConfig; readonly onlyMigratable: boolean } {
    const onlyMigratable = this.#onlyMigratable;
    if (this.#main === undefined) {
      if (this.#cpr === undefined) return { onlyMigratable };
      throw new OptionError(
        "-incoming: a cpr channel needs a main channel too: add '-incoming defer' or a URI",
      );
    }
    const incoming = this.#cpr === undefined
      ? { main: this.#main }
      : { main: this.#main, cpr: this.#cpr };
    return { incoming, onlyMigratable };
  }
}

/** Reads a migration channel as QMP's `channels` and -incoming have it. */
export function readChannel(
  values: TreeObject,
  source: Source,
): { readonly type: "main" | "cpr"; readonly address: MigrationAddress } {
  const type = discriminator(values, "channel-type", source.where);
  if (type !== "main" && type !== "cpr") {
    throw new OptionError(
      `${source.where}Parameter 'channel-type' does not accept value '${type}'`,
    );
  }
  const { addr } = readProperties(channelProperties, source, values);
  if (!isObject(addr)) {
    throw new OptionError(`${source.where}Invalid parameter type for 'addr', expected: object`);
  }
  return { type, address: readAddress(addr, source) };
}

function readAddress(values: TreeObject, source: Source): MigrationAddress {
  const prefix = "addr.";
  const transport = discriminator(values, "transport", source.where, prefix);
  const rest = without(values, "transport");
  switch (transport) {
    case "socket":
      return { transport, ...readSocketAddress(rest, source) };
    case "exec":
      return { transport, ...readProperties(execProperties, source, rest, prefix) };
    case "file":
      return { transport, ...readProperties(fileProperties, source, rest, prefix) };
    default:
      throw new OptionError(
        `${source.where}Parameter 'transport' does not accept value '${transport}'`,
        transport === "rdma" ? "there is no RDMA; use a tcp socket" : undefined,
      );
  }
}

function readSocketAddress(values: TreeObject, source: Source): MigrationSocketAddress {
  const prefix = "addr.";
  const type = discriminator(values, "type", source.where, prefix);
  const rest = without(values, "type");
  switch (type) {
    case "inet":
      return { type, ...readProperties(inetProperties, source, rest, prefix) };
    case "unix":
      return { type, ...readProperties(unixProperties, source, rest, prefix) };
    case "fd":
      return { type, ...readProperties(descriptorProperties, source, rest, prefix) };
    default:
      throw new OptionError(
        `${source.where}Parameter 'type' does not accept value '${type}'`,
        type === "vsock" ? "there is no vsock; use a unix or tcp socket" : undefined,
      );
  }
}
