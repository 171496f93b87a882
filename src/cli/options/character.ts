/** Character devices and what is connected to them: -chardev, -serial, -monitor, -qmp, -mon, -qtest. */
import { InformationRequest } from "../information.ts";
import { OptionError } from "../../configuration/errors.ts";
import {
  boolean,
  choice,
  defaulting,
  type PropertiesOf,
  required,
  text,
} from "../../configuration/property.ts";
import { readProperties } from "../property_reader.ts";
import { identifierHint, parseOptionList } from "../syntax.ts";
import { type Occurrence, type Option, type OptionGroup, readList } from "../option.ts";
import {
  chardevFromProperties,
  ChardevOptionError,
  type LegacyChardev,
  parseLegacyChardev,
} from "../../backends/chardev_options.ts";
import type { ChardevOptions } from "../../configuration/chardev.ts";
import { parseInteger } from "../../configuration/values.ts";
import type { CharacterConnection, MonitorConfig } from "../../configuration/character.ts";

const monitorProperties = {
  id: text("Name of the monitor"),
  chardev: required(text("Character device")),
  mode: defaulting(
    choice(["readline", "control"], "HMP for people or QMP for programs"),
    "readline",
  ),
  pretty: defaulting(boolean("Indent QMP's replies"), false),
};

/** What `-chardev help` lists. */
const backends = ["file", "mux", "null", "pipe", "pty", "ringbuf", "socket", "stdio"];

/** A reference to a character device, and where it was made. */
interface Reference {
  readonly id: string;
  /** What to say if there is no such device. */
  readonly missing: string;
}

/** What all the options together say. */
export interface CharacterParts {
  readonly chardevs: readonly ChardevOptions[];
  readonly serialPorts: readonly CharacterConnection[];
  readonly monitors: readonly MonitorConfig[];
  readonly qtest?: { readonly chardev: string; readonly log?: string };
}

export class CharacterOptions implements OptionGroup {
  readonly title = "Character device options";
  readonly #chardevs = new Map<string, { options: ChardevOptions; where: string }>();
  readonly #serial: CharacterConnection[] = [];
  readonly #monitors: MonitorConfig[] = [];
  readonly #references: Reference[] = [];
  #compatMonitors = 0;
  /** -serial: made after what -chardev, -monitor and -qmp make, as servers may wait in this order. */
  readonly #serialGiven: Occurrence[] = [];
  #defaultMonitor = true;
  #qtest: string | undefined;
  #qtestLog: string | undefined;

  readonly options: readonly Option[] = [
    {
      names: ["chardev"],
      argument:
        "backend,id=id[,prop=value][,mux=on|off][,logfile=PATH][,logappend=on|off][,cpr=on|off]",
      help: [
        "create a character device: one of " + backends.join(", "),
        "socket: path=PATH or host=HOST,port=PORT or fd=N, server=on|off, wait=on|off",
        "cpr=on: its connection survives live updates",
      ],
      apply: (occurrence) => this.#chardev(occurrence),
    },
    {
      names: ["serial"],
      argument: "dev",
      help: [
        "connect the serial port to 'dev': stdio, null, none, pty, file:PATH, unix:PATH,",
        "tcp:HOST:PORT, chardev:ID, mon:... (shared with the monitor)",
      ],
      apply: (occurrence) => {
        this.#serialGiven.push(occurrence);
        // A monitor on the serial port's terminal takes the default monitor's place.
        if (occurrence.argument.startsWith("mon:")) this.#defaultMonitor = false;
      },
    },
    {
      names: ["parallel"],
      argument: "dev",
      help: ["none, as the board has no parallel port"],
      apply: ({ argument, where }) => {
        if (argument === "none") return;
        throw new OptionError(
          `${where}not available: the board has no parallel port; use '-parallel none'`,
        );
      },
    },
    {
      names: ["monitor"],
      argument: "dev",
      help: ["connect the human monitor to 'dev', as for -serial"],
      apply: (occurrence) => this.#legacyMonitor(occurrence, "readline", false),
    },
    {
      names: ["qmp"],
      argument: "dev",
      help: ["like -monitor, but in 'control' mode: QMP"],
      apply: (occurrence) => this.#legacyMonitor(occurrence, "control", false),
    },
    {
      names: ["qmp-pretty"],
      argument: "dev",
      help: ["like -qmp, with indented JSON"],
      apply: (occurrence) => this.#legacyMonitor(occurrence, "control", true),
    },
    {
      names: ["mon"],
      argument: "[chardev=]name[,mode=readline|control][,pretty=on|off]",
      help: ["connect a monitor to the character device 'name'"],
      apply: (occurrence) => this.#monitor(occurrence),
    },
    {
      names: ["echr"],
      argument: "chr",
      help: ["1: on a shared terminal, ctrl-a escapes to the monitor"],
      apply: ({ argument, where }) => {
        if (parseInteger(argument) === 1n) return;
        throw new OptionError(`${where}not available: the escape character is ctrl-a, '-echr 1'`);
      },
    },
    {
      names: ["qtest"],
      argument: "dev",
      help: ["let a test drive the machine over 'dev'"],
      apply: ({ argument }) => {
        this.#qtest = argument;
      },
    },
    {
      names: ["qtest-log"],
      argument: "FILE",
      help: ["write what the test says to FILE"],
      apply: ({ argument }) => {
        this.#qtestLog = argument;
      },
    },
  ];

  #add(options: ChardevOptions, where: string): void {
    if (this.#chardevs.has(options.id)) {
      throw new OptionError(`${where}Duplicate ID '${options.id}' for chardev`);
    }
    this.#chardevs.set(options.id, { options, where });
  }

  #chardev(occurrence: Occurrence): void {
    const { argument, where, warn } = occurrence;
    const list = parseOptionList(argument, where, "backend");
    const properties = new Map(list.pairs.map(({ key, value }) => [key, value]));
    const backend = properties.get("backend");
    if (backend === "help" || backend === "?") {
      throw new InformationRequest(
        ["Available chardev backend types:", ...backends.map((name) => `  ${name}`)].join("\n"),
      );
    }
    for (const warning of list.warnings) warn(warning);
    this.#add(wording(where, () => chardevFromProperties(properties)), where);
  }

  /** Reads a short spelling, and creates the device it asks for under the name `id`. */
  #legacy(argument: string, id: string, where: string): LegacyChardev {
    const legacy = wording(where, () => parseLegacyChardev(argument, id));
    if (legacy.kind !== "create") return legacy;
    this.#add(legacy.options, where);
    if (legacy.monitor) this.#monitors.push({ chardev: id, mode: "readline", pretty: false });
    return legacy;
  }

  #serialPort({ argument, where }: Pick<Occurrence, "argument" | "where">): void {
    const legacy = this.#legacy(argument, `serial${this.#serial.length}`, where);
    if (legacy.kind === "none") {
      this.#serial.push(legacy);
      return;
    }
    const id = legacy.kind === "create" ? legacy.options.id : legacy.id;
    this.#serial.push({ kind: "chardev", id });
    this.#references.push({
      id,
      missing: `${where}could not connect serial device to character backend '${argument}'`,
    });
  }

  #legacyMonitor(
    { argument, where }: Pick<Occurrence, "argument" | "where">,
    mode: MonitorConfig["mode"],
    pretty: boolean,
  ): void {
    this.#defaultMonitor = false;
    const legacy = this.#legacy(argument, `compat_monitor${this.#compatMonitors}`, where);
    if (legacy.kind === "none") {
      if (mode === "readline") return;
      throw new OptionError(`${where}'none' is not a valid char driver`);
    }
    if (legacy.kind === "create") this.#compatMonitors++;
    const id = legacy.kind === "create" ? legacy.options.id : legacy.id;
    this.#attach({ chardev: id, mode, pretty }, where);
  }

  #monitor(occurrence: Occurrence): void {
    this.#defaultMonitor = false;
    const { values } = readList(occurrence, "chardev");
    const source = { dialect: "visitor", where: occurrence.where } as const;
    this.#attach(readProperties(monitorProperties, source, values), occurrence.where);
  }

  #attach(monitor: PropertiesOf<typeof monitorProperties>, where: string): void {
    if (monitor.pretty && monitor.mode === "readline") {
      throw new OptionError(`${where}'pretty' is not compatible with HMP monitors`);
    }
    const { chardev: id, mode, pretty } = monitor;
    this.#monitors.push({ chardev: id, mode, pretty });
    this.#references.push({ id, missing: `${where}chardev "${id}" not found` });
  }

  /** What all the options together say. `createDefaults`: there is no -nodefaults. */
  finish(
    { createDefaults, nographic, daemonize }: {
      readonly createDefaults: boolean;
      readonly nographic: boolean;
      readonly daemonize: boolean;
    },
  ): CharacterParts {
    const serial = this.#serialGiven.length > 0;
    const monitor = !this.#defaultMonitor;
    if (nographic && daemonize && createDefaults && !(serial && monitor)) {
      throw new OptionError("-nographic cannot be used with -daemonize");
    }
    if (createDefaults && nographic && serial && !monitor) {
      this.#legacyMonitor({ argument: "stdio", where: "" }, "readline", false);
    }
    if (this.#qtest !== undefined) this.#legacy(this.#qtest, "qtest", "");
    for (const occurrence of this.#serialGiven) this.#serialPort(occurrence);
    if (createDefaults && !serial) {
      // Without a terminal the port goes nowhere, but the guest finds it.
      const argument = nographic ? monitor ? "stdio" : "mon:stdio" : "null";
      this.#serialPort({ argument, where: "" });
    }
    const chardevs = [...this.#chardevs.values()];
    const terminals = chardevs.filter(({ options }) => options.backend.kind === "stdio");
    for (const [index, { where }] of terminals.entries()) {
      if (daemonize) throw new OptionError(`${where}cannot use stdio with -daemonize`);
      if (index > 0) {
        throw new OptionError(`${where}cannot use stdio by multiple character devices`);
      }
    }
    for (const { id, missing } of this.#references) {
      if (!this.#chardevs.has(id)) throw new OptionError(missing);
    }
    return {
      chardevs: chardevs.map(({ options, where }) =>
        where === "" ? options : { ...options, origin: where }
      ),
      serialPorts: this.#serial,
      monitors: this.#monitors,
      ...(this.#qtest === undefined ? {} : {
        qtest: {
          chardev: "qtest",
          ...(this.#qtestLog === undefined ? {} : { log: this.#qtestLog }),
        },
      }),
    };
  }
}

/** Runs a reader of chardev options and puts the option in front of its complaint. */
function wording<Result>(where: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ChardevOptionError)) throw error;
    const hint = error.message.endsWith("expects an identifier") ? identifierHint : undefined;
    throw new OptionError(`${where}${error.message}`, hint, { cause: error });
  }
}
