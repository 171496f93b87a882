/** The guest's identity, its clock, and what follows from what it does. */
import { OptionError } from "../../configuration/errors.ts";
import { boolean, choice, given, type PropertiesOf, text } from "../../configuration/property.ts";
import { type Occurrence, type Option, type OptionGroup, readCheckedList } from "../option.ts";
import type { ActionConfig, ClockConfig, FirmwareItemConfig } from "../../configuration/guest.ts";
import type { GlobalProperty } from "../../configuration/machine.ts";

const nameProperties = {
  guest: text("Name of the guest"),
  process: text("Name of the process"),
  "debug-threads": boolean("Name threads after what they do"),
};

const rtcProperties = {
  base: text("utc, localtime or a date"),
  clock: text("host, rt or vm"),
  driftfix: text("none or slew"),
};

const actionProperties = {
  reboot: choice(["reset", "shutdown"]),
  shutdown: choice(["poweroff", "pause"]),
  panic: choice(["pause", "shutdown", "exit-failure", "none"]),
  watchdog: choice(["reset", "shutdown", "poweroff", "inject-nmi", "pause", "debug", "none"]),
};

const firmwareItemProperties = {
  name: text("Name, starting with opt/"),
  file: text("File with the content"),
  string: text("The content"),
  gen_id: text("Object that makes the content"),
};

/** Longest name of a fw_cfg file, without its final zero byte. */
const longestFirmwareName = 55;

export class GuestOptions implements OptionGroup {
  readonly title = "Guest options";
  #name: PropertiesOf<typeof nameProperties> = {};
  #uuid: string | undefined;
  #rtc: PropertiesOf<typeof rtcProperties> = {};
  #actions: PropertiesOf<typeof actionProperties> = {};
  readonly #firmwareItems: FirmwareItemConfig[] = [];
  readonly #globals: GlobalProperty[] = [];

  readonly options: readonly Option[] = [
    {
      names: ["name"],
      argument: "string1[,process=string2][,debug-threads=on|off]",
      help: ["set the name of the guest, and 'string2' as the name of the process"],
      apply: (occurrence) => {
        const how = { title: "name", impliedKey: "guest" };
        this.#name = { ...this.#name, ...readCheckedList(nameProperties, occurrence, how) };
      },
    },
    {
      names: ["uuid"],
      argument: "%08x-%04x-%04x-%04x-%012x",
      help: ["specify machine UUID"],
      apply: ({ argument, where }) => {
        if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(argument)) {
          throw new OptionError(`${where}failed to parse UUID string: wrong format`);
        }
        this.#uuid = argument.toLowerCase();
      },
    },
    {
      names: ["rtc"],
      argument: "[base=utc|localtime|<datetime>][,clock=host|rt|vm][,driftfix=none|slew]",
      help: ["set the RTC base and clock, enable drift fix for clock ticks"],
      apply: (occurrence) => {
        const read = readCheckedList(rtcProperties, occurrence, { title: "rtc" });
        this.#rtc = { ...this.#rtc, ...read };
      },
    },
    {
      names: ["action"],
      argument: "event=action[,...]",
      help: [
        "what follows an event: reboot=reset|shutdown, shutdown=poweroff|pause,",
        "panic=pause|shutdown|exit-failure|none, watchdog=reset|...",
      ],
      apply: (occurrence) => this.#action(occurrence),
    },
    {
      names: ["no-reboot"],
      help: ["exit instead of rebooting"],
      apply: () => {
        this.#actions = { ...this.#actions, reboot: "shutdown" };
      },
    },
    {
      names: ["no-shutdown"],
      help: ["stop before shutdown"],
      apply: () => {
        this.#actions = { ...this.#actions, shutdown: "pause" };
      },
    },
    {
      names: ["watchdog-action"],
      argument: "action",
      help: ["as -action watchdog="],
      apply: (occurrence) =>
        this.#action({ ...occurrence, argument: `watchdog=${occurrence.argument}` }),
    },
    {
      names: ["fw_cfg"],
      argument: "[name=]<name>,file=<file>|string=<str>",
      help: ["add a named fw_cfg entry with contents from a file or a string"],
      apply: (occurrence) => this.#firmwareItem(occurrence),
    },
    {
      names: ["global"],
      argument: "driver.property=value | driver=driver,property=property,value=value",
      help: ["set a global default for a driver property"],
      apply: (occurrence) => this.#global(occurrence),
    },
  ];

  #action(occurrence: Occurrence): void {
    const read = readCheckedList(actionProperties, occurrence, { title: "action" });
    this.#actions = { ...this.#actions, ...read };
  }

  #firmwareItem(occurrence: Occurrence): void {
    const { where, warn } = occurrence;
    const { name = "", file, string, gen_id } = readCheckedList(
      firmwareItemProperties,
      occurrence,
      { title: "fw_cfg", impliedKey: "name" },
    );
    const contents = [file, string, gen_id].filter((text) => text !== undefined);
    if (name === "" || contents.length !== 1 || contents[0] === "") {
      throw new OptionError(
        `${where}name, plus exactly one of file, string and gen_id, are needed`,
      );
    }
    if (gen_id !== undefined) {
      throw new OptionError(
        `${where}'gen_id=${gen_id}' is not available: no object makes fw_cfg contents; use file=`,
      );
    }
    if (new TextEncoder().encode(name).length > longestFirmwareName) {
      throw new OptionError(`${where}name too long (max. ${longestFirmwareName} char)`);
    }
    if (!name.startsWith("opt/")) {
      warn(
        `${where}warning: externally provided fw_cfg item names should be prefixed with "opt/"`,
      );
    }
    this.#firmwareItems.push({
      name,
      content: file === undefined
        ? { kind: "string", text: string ?? "" }
        : { kind: "file", path: file },
    });
  }

  #global(occurrence: Occurrence): void {
    const { argument, where } = occurrence;
    const short = /^([^.=,]+)\.([^=]+)=(.*)$/s.exec(argument);
    if (short !== null) {
      const [, driver = "", property = "", value = ""] = short;
      this.#globals.push({ driver, property, value });
      return;
    }
    const properties = { driver: text(), property: text(), value: text() };
    const { driver, property, value } = readCheckedList(properties, occurrence, {
      title: "global",
    });
    if (driver === undefined || property === undefined || value === undefined) {
      throw new OptionError(
        `${where}options 'driver', 'property', and 'value' are required`,
      );
    }
    this.#globals.push({ driver, property, value });
  }

  /** -global, in the order given. */
  get globals(): readonly GlobalProperty[] {
    return this.#globals;
  }

  /** What -name says of the process. */
  processName(): { readonly name?: string; readonly debugThreads: boolean } {
    const { process, "debug-threads": debugThreads = false } = this.#name;
    return { debugThreads, ...given({ name: process }) };
  }

  finish(): {
    readonly name?: string;
    readonly uuid?: string;
    readonly clock: ClockConfig;
    readonly actions: ActionConfig;
    readonly firmwareItems: readonly FirmwareItemConfig[];
    readonly globals: readonly GlobalProperty[];
  } {
    return {
      ...given({ name: this.#name.guest, uuid: this.#uuid }),
      clock: clock(this.#rtc),
      actions: {
        reboot: "reset",
        shutdown: "poweroff",
        panic: "shutdown",
        watchdog: "reset",
        ...this.#actions,
      },
      firmwareItems: this.#firmwareItems,
      globals: this.#globals,
    };
  }
}

function clock(
  { base = "utc", clock = "host", driftfix = "none" }: PropertiesOf<typeof rtcProperties>,
): ClockConfig {
  if (clock !== "host" && clock !== "rt" && clock !== "vm") {
    throw new OptionError(`invalid option value '${clock}'`);
  }
  if (driftfix !== "none" && driftfix !== "slew") {
    throw new OptionError(`invalid option value '${driftfix}'`);
  }
  return { base: clockBase(base), clock, slewLostTicks: driftfix === "slew" };
}

function clockBase(base: string): ClockConfig["base"] {
  if (base === "utc" || base === "localtime") return { kind: base };
  const match = /^(\d{1,4})-(\d{1,2})-(\d{1,2})(?:T(\d{1,2}):(\d{1,2}):(\d{1,2}))?$/.exec(base);
  const [year, month, day, hour, minute, second] = (match ?? []).slice(1).map((part) =>
    Number(part ?? 0)
  );
  const valid = month !== undefined && month >= 1 && month <= 12 && day !== undefined &&
    day >= 1 && day <= 31 && (hour ?? 0) < 24 && (minute ?? 0) < 60 && (second ?? 0) < 61;
  if (year === undefined || !valid) {
    throw new OptionError(
      "invalid datetime format",
      "valid formats: '2006-06-17T16:01:21' or '2006-06-17'",
    );
  }
  const seconds = Date.UTC(year, month - 1, day, hour, minute, second) / 1000;
  return { kind: "date", seconds };
}
