/** Moving the machine: migrate, which shows a person how far it is, and what belongs to it. */
import { type CapabilityName, capabilityNames } from "../../../migration/capabilities.ts";
import { MigrationError } from "../../../migration/errors.ts";
import type { MigrationInformation } from "../../../migration/information.ts";
import { parameterDeclarations } from "../../../migration/parameters.ts";
import { postcopy } from "../../../migration/postcopy.ts";
import { isMigrationStatus } from "../../../migration/status.ts";
import type { MigrationControl } from "../../context.ts";
import { defineHumanCommand, type HumanCommand, type HumanInvocation } from "../command.ts";
import { flag, onOff, rest, text } from "../parameters.ts";
import { outcomeLine, progressLine, size } from "../progress.ts";

/** Milliseconds between two looks at a migration. */
const LOOK_INTERVAL = 250;
/** Goes back to the beginning of the line and clears it (ECMA-48: EL). */
const CLEAR_LINE = "\r\x1b[K";

/** Shows how far the migration is until it has ended; Ctrl-C ends it. */
async function showProgress(
  { context: { migration }, print, suspend }: HumanInvocation,
): Promise<void> {
  if (suspend === undefined) {
    return print("terminal does not allow synchronous migration, continuing detached\n");
  }
  const show = () => print(`${CLEAR_LINE}${progressLine(migration.query())}`);
  show();
  const timer = setInterval(show, LOOK_INTERVAL);
  try {
    await suspend(migration.ended, () => migration.cancel());
  } finally {
    clearInterval(timer);
    print(`${CLEAR_LINE}${outcomeLine(migration.query())}\n`);
  }
}

function capabilityNamed(name: string): CapabilityName {
  const found = capabilityNames.find((known) => known === name);
  if (found === undefined) {
    throw new MigrationError(`invalid parameter value: ${name}`);
  }
  return found;
}

export const migrationHumanCommands: readonly HumanCommand[] = [
  defineHumanCommand({
    names: "migrate",
    help:
      "migrate to URI, showing progress; Ctrl-C cancels (using -d to not wait for completion, " +
      "-r to resume a paused postcopy migration)",
    parameters: { detach: flag("d"), resume: flag("r"), uri: text },
    usage: "[-d] [-r] uri",
    run: async (invocation, { detach, resume, uri }) => {
      invocation.context.migration.start({ uri, resume });
      if (!detach) await showProgress(invocation);
    },
  }),
  defineHumanCommand({
    names: "migrate_cancel",
    help: "cancel the current VM migration",
    parameters: {},
    run: ({ context }) => context.migration.cancel(),
  }),
  defineHumanCommand({
    names: "migrate_continue",
    help: "Continue migration from the given paused state",
    parameters: { state: text },
    run: ({ context }, { state }) => {
      if (!isMigrationStatus(state)) {
        throw new MigrationError(`invalid parameter value: ${state}`);
      }
      context.migration.continueFrom(state);
    },
  }),
  defineHumanCommand({
    names: "migrate_incoming",
    help: "Continue an incoming migration from an -incoming defer",
    parameters: { uri: text },
    run: ({ context }, { uri }) => context.migration.startIncoming({ uri }),
  }),
  defineHumanCommand({
    names: "migrate_pause",
    help: "Pause an ongoing migration (postcopy-only)",
    parameters: {},
    run: postcopy.pause,
  }),
  defineHumanCommand({
    names: "migrate_recover",
    help: "Continue a paused incoming postcopy migration",
    parameters: { uri: text },
    run: postcopy.recover,
  }),
  defineHumanCommand({
    names: "migrate_start_postcopy",
    help: "Followup to a migration command to switch the migration to postcopy mode",
    parameters: {},
    run: postcopy.start,
  }),
  defineHumanCommand({
    names: "migrate_set_capability",
    help: "Enable/Disable the usage of a capability for migration",
    choices: () => capabilityNames,
    parameters: { capability: text, state: onOff },
    run: ({ context }, { capability, state }) =>
      context.migration.setCapabilities([{ capability: capabilityNamed(capability), state }]),
  }),
  defineHumanCommand({
    names: "migrate_set_parameter",
    help: "Set the parameter for migration",
    choices: () => [...parameterDeclarations.keys()],
    parameters: { parameter: text, value: rest },
    run: ({ context }, { parameter, value }) =>
      context.migration.setParameterFromText(parameter, value),
  }),
];

/** Subcommands of `info`. */
export const migrationInfo: readonly HumanCommand[] = [
  defineHumanCommand({
    names: "migrate",
    help: "show migration status (-a: all, dump all status)",
    parameters: { all: flag("a") },
    run: ({ context, print }) => print(describeMigration(context.migration)),
  }),
  defineHumanCommand({
    names: "migrate_capabilities",
    help: "show current migration capabilities",
    parameters: {},
    run: ({ context, print }) => {
      for (const { capability, state } of context.migration.listCapabilities()) {
        print(`${capability}: ${state ? "on" : "off"}\n`);
      }
    },
  }),
  defineHumanCommand({
    names: "migrate_parameters",
    help: "show current migration parameters",
    parameters: {},
    run: ({ context, print }) =>
      print(context.migration.describeParameters().map((line) => `${line}\n`).join("")),
  }),
];

function describeMigration(migration: MigrationControl): string {
  const information = migration.query();
  const lines = (information["blocked-reasons"] ?? []).map((reason) => `  ${reason}`);
  if (lines.length > 0) lines.unshift("Outgoing migration blocked:");
  const { status, "error-desc": reason } = information;
  if (status !== undefined) {
    lines.push(row("Status", `${status}${reason === undefined ? "" : ` (${reason})`}`));
  }
  const times = timesOf(information);
  if (times !== "") lines.push(row("Time (ms)", times));
  const { ram } = information;
  if (ram !== undefined) {
    lines.push(
      "RAM info:",
      row("  Throughput (Mbps)", ram.mbps.toFixed(2)),
      row("  Sizes", `pagesize=${size(ram["page-size"])}, total=${size(ram.total)}`),
      row("  Transfers", `transferred=${size(ram.transferred)}, remain=${size(ram.remaining)}`),
      row(
        "    Channels",
        `precopy=${size(ram["precopy-bytes"])}, multifd=${size(ram["multifd-bytes"])}, ` +
          `postcopy=${size(ram["postcopy-bytes"])}`,
      ),
      row("    Page Types", `normal=${ram.normal}, zero=${ram.duplicate}`),
      row(
        "  Page Rates (pps)",
        `transfer=${ram["pages-per-second"]}${unlessZero("dirty", ram["dirty-pages-rate"])}`,
      ),
      row(
        "  Others",
        `dirty_syncs=${ram["dirty-sync-count"]}` +
          unlessZero("downtime_bytes", ram["downtime-bytes"]),
      ),
    );
  }
  const throttle = information["cpu-throttle-percentage"];
  if (throttle !== undefined) lines.push(row("CPU Throttle (%)", String(throttle)));
  return lines.map((line) => `${line}\n`).join("");
}

function timesOf(information: MigrationInformation): string {
  const names = { "total-time": "total", "setup-time": "setup", "expected-downtime": "exp_down" };
  const known = Object.entries({ ...names, downtime: "down" } as const);
  return known.flatMap(([member, name]) => {
    const value = information[member as keyof typeof names | "downtime"];
    return value === undefined ? [] : [`${name}=${value}`];
  }).join(", ");
}

function unlessZero(name: string, value: number): string {
  return value === 0 ? "" : `, ${name}=${value}`;
}

/** A name and what belongs to it, where QEMU's clients look for it. */
function row(name: string, value: string): string {
  return `${name}: ${"\t".repeat(name.length < 14 ? 2 : 1)}${value}`;
}
