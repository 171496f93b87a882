/** How the process runs, what it prints, and what people on a terminal see of it. */
import { InformationRequest } from "../information.ts";
import { OptionError } from "../../configuration/errors.ts";
import {
  boolean,
  choice,
  given,
  integer,
  limited,
  type PropertiesOf,
  refused,
  text,
} from "../../configuration/property.ts";
import {
  isJson,
  type Occurrence,
  type Option,
  type OptionGroup,
  readCheckedList,
  readJsonOrTree,
  readList,
} from "../option.ts";
import { traceHelp, traceWarnings } from "../trace.ts";
import type { InheritedDescriptor, LogConfig, ProcessConfig } from "../../configuration/process.ts";

const runWithProperties = {
  "exit-with-parent": boolean("Exit when the parent process exits"),
  "async-teardown": limited(
    boolean("Free memory in the background at the end"),
    [false],
    "the kernel frees memory when the process ends; leave it off",
  ),
  chroot: refused("start molt in it, as with 'chroot DIRECTORY molt ...'"),
  user: refused("start molt as that user, as with 'setpriv --reuid=USER --init-groups molt ...'"),
};

const messageProperties = {
  timestamp: boolean("Start messages with the time"),
  "guest-name": boolean("Start messages with the guest's name"),
};

const traceProperties = {
  enable: text("Pattern of events to turn on; with a leading -, off"),
  events: text("File with one pattern on each line"),
  file: text("File to write to"),
};

const overcommitProperties = {
  "mem-lock": text("off: the guest's memory may be swapped"),
  "cpu-pm": limited(
    boolean("Let the guest idle its CPUs itself"),
    [false],
    "idle guest CPUs give their host CPUs back; leave it off",
  ),
};

const sandboxSwitch = choice(["allow", "deny", "children"]);
const sandboxProperties = {
  enable: boolean("Filter system calls"),
  obsolete: sandboxSwitch,
  elevateprivileges: sandboxSwitch,
  spawn: sandboxSwitch,
  resourcecontrol: sandboxSwitch,
};

const descriptorProperties = {
  fd: integer("int64", "Number of the descriptor"),
  set: integer("int64", "Number of the set"),
  opaque: text("Text that goes with it"),
};

/** Items of -d that mean something here: nothing that a guest does is logged with them so far. */
const logItems = ["guest_errors", "unimp", "trace:PATTERN"];
/** Items of -d about translated code: there is none. */
const translationItems = new Set([
  ...["out_asm", "in_asm", "op", "op_opt", "op_ind", "op_plugin", "int", "exec", "cpu", "fpu"],
  ...["mmu", "pcall", "page", "nochain", "plugin", "strace", "tid", "vpu", "invalid_mem"],
]);
/** Items that molt does not log, and what to look at instead. */
const missingItems: ReadonlyMap<string, string> = new Map([
  ...[...translationItems].map((item) =>
    [item, "guest code is not translated; use " + logItems.join(", ")] as const
  ),
  ["cpu_reset", "use the event RESET and the monitor's 'info registers'"],
  ["all", "use " + logItems.join(", ")],
]);

const headless = "molt has no display; use '-display none', and '-serial' or '-nographic' for text";

export class ProcessOptions implements OptionGroup {
  readonly title = "Process and debug options";
  #runWith: PropertiesOf<typeof runWithProperties> = {};
  #message: PropertiesOf<typeof messageProperties> = {};
  #pidFile: string | undefined;
  #logFile: string | undefined;
  readonly #tracePatterns: string[] = [];
  readonly #traceFiles: string[] = [];
  readonly #descriptors: InheritedDescriptor[] = [];
  readonly #dataDirectories: string[] = [];
  /** -S. */
  startPaused = false;
  /** -daemonize. */
  daemonize = false;
  /** -nodefaults. */
  noDefaults = false;
  /** -nographic. */
  nographic = false;

  readonly options: readonly Option[] = [
    this.#flag("S", "freeze CPUs at startup (use 'cont' to start execution)", () => {
      this.startPaused = true;
    }),
    this.#flag("nodefaults", "don't create default devices", () => {
      this.noDefaults = true;
    }),
    this.#flag("no-user-config", "accepted: there are no files of default options", () => {}),
    this.#flag("nographic", "serial port and monitor share the terminal", () => {
      this.nographic = true;
    }),
    this.#flag("daemonize", "run in the background after initializing", () => {
      this.daemonize = true;
    }),
    this.#value("pidfile", "file", "write the process id to 'file'", ({ argument }) => {
      this.#pidFile = argument;
    }),
    this.#value(
      "run-with",
      "[exit-with-parent=on|off]",
      "set how the process lives",
      (occurrence) => this.#setRunWith(occurrence),
    ),
    this.#value(
      "overcommit",
      "[mem-lock=off][cpu-pm=off]",
      "accepted: neither memory nor CPUs are kept from others",
      (occurrence) => overcommit(occurrence),
    ),
    this.#value("sandbox", "off", "there is no system call filter", (occurrence) => {
      const how = { title: "sandbox", impliedKey: "enable" };
      const { enable } = readCheckedList(sandboxProperties, occurrence, how);
      if (enable) {
        throw new OptionError(
          `${occurrence.where}'enable=on' is not available: ` +
            "run molt under a sandbox of the host, such as systemd's SystemCallFilter",
        );
      }
    }),
    this.#value(
      "add-fd",
      "fd=fd,set=set[,opaque=opaque]",
      "add the inherited descriptor 'fd' to set 'set'",
      (occurrence) => this.#addDescriptor(occurrence),
    ),
    this.#value("L", "path", "look for firmware in 'path' too", ({ argument }) => {
      if (argument === "help" || argument === "?") {
        throw new InformationRequest(this.#dataDirectories.join("\n"));
      }
      this.#dataDirectories.push(argument);
    }),
    this.#value(
      "msg",
      "[timestamp=on|off][,guest-name=on|off]",
      "what messages start with",
      (occurrence) => {
        const read = readCheckedList(messageProperties, occurrence, { title: "msg" });
        this.#message = { ...this.#message, ...read };
      },
    ),
    this.#value("D", "logfile", "write what -d and -trace log to logfile", ({ argument }) => {
      this.#logFile = argument;
    }),
    this.#value("d", "item1,...", "log items ('-d help' for a list)", (occurrence) => {
      this.#log(occurrence);
    }),
    this.#value(
      "trace",
      "[[enable=]<pattern>][,events=<file>][,file=<file>]",
      "trace events: '-trace help' for a list",
      (occurrence) => this.#trace(occurrence),
    ),
    this.#value("display", "none", "molt has no display", (occurrence) => display(occurrence)),
    this.#value("vga", "none", "the board has no graphics", ({ argument, where }) => {
      if (argument === "none") return;
      if (argument === "help") throw new InformationRequest("none                 no graphic card");
      throw new OptionError(`${where}'vga=${argument}' is not available: use '-vga none'`);
    }),
    this.#value(
      "audio",
      "none",
      "the board has no sound",
      (occurrence) => audio(occurrence, false),
    ),
    this.#value(
      "audiodev",
      "none,id=id",
      "accepted with none",
      (occurrence) => audio(occurrence, true),
    ),
    this.#value("k", "language", "accepted: there is no keyboard", () => {}),
  ];

  #flag(name: string, help: string, apply: () => void): Option {
    return { names: [name], help: [help], apply };
  }

  #value(
    name: string,
    argument: string,
    help: string,
    apply: (occurrence: Occurrence) => void,
  ): Option {
    return { names: [name], argument, help: [help], apply };
  }

  #setRunWith(occurrence: Occurrence): void {
    const read = readCheckedList(runWithProperties, occurrence, { title: "run-with" });
    this.#runWith = { ...this.#runWith, ...read };
  }

  #addDescriptor(occurrence: Occurrence): void {
    const { where } = occurrence;
    const { fd = -1, set = -1, opaque } = readCheckedList(descriptorProperties, occurrence, {
      title: "add-fd",
    });
    if (fd < 0) {
      throw new OptionError(`${where}fd option is required and must be non-negative`);
    }
    if (fd <= 2) throw new OptionError(`${where}fd cannot be a standard I/O stream`);
    if (set < 0) {
      throw new OptionError(`${where}set option is required and must be non-negative`);
    }
    this.#descriptors.push({ fd, set, ...given({ opaque }) });
  }

  #log({ argument, where, warn }: Occurrence): void {
    const items = argument.split(",");
    if (items.includes("help") || items.includes("?")) {
      throw new InformationRequest(["Log items (comma separated):", ...logItems].join("\n"), 1);
    }
    for (const item of items) {
      if (item.startsWith("trace:")) {
        const pattern = item.slice("trace:".length);
        if (pattern === "help") throw new InformationRequest(traceHelp());
        for (const warning of traceWarnings(pattern)) warn(warning);
        this.#tracePatterns.push(pattern);
        continue;
      }
      const instead = missingItems.get(item);
      if (instead !== undefined) {
        throw new OptionError(`${where}'${item}' is not available: ${instead}`);
      }
      if (!logItems.includes(item)) throw new OptionError(`${where}unknown log item '${item}'`);
    }
  }

  #trace(occurrence: Occurrence): void {
    const { argument, where, warn } = occurrence;
    if (argument === "help" || argument === "?") throw new InformationRequest(traceHelp());
    const { enable, events, file } = readCheckedList(traceProperties, occurrence, {
      title: "trace",
      impliedKey: "enable",
    });
    for (const warning of traceWarnings(enable ?? "")) warn(`${where}${warning}`);
    if (enable !== undefined) this.#tracePatterns.push(enable);
    if (events !== undefined) this.#traceFiles.push(events);
    if (file !== undefined) this.#logFile = file;
  }

  finish(process: { readonly name?: string; readonly debugThreads: boolean }): {
    readonly process: ProcessConfig;
    readonly log: LogConfig;
    readonly inheritedDescriptors: readonly InheritedDescriptor[];
    readonly dataDirectories: readonly string[];
    readonly startPaused: boolean;
  } {
    const { "exit-with-parent": exitWithParent = false } = this.#runWith;
    return {
      process: {
        ...process,
        daemonize: this.daemonize,
        exitWithParent,
        ...given({ pidFile: this.#pidFile }),
      },
      log: {
        timestamp: this.#message.timestamp ?? false,
        guestName: this.#message["guest-name"] ?? false,
        tracePatterns: this.#tracePatterns,
        traceFiles: this.#traceFiles,
        ...given({ file: this.#logFile }),
      },
      inheritedDescriptors: this.#descriptors,
      dataDirectories: this.#dataDirectories,
      startPaused: this.startPaused,
    };
  }
}

/** Takes what changes nothing. */
function overcommit(occurrence: Occurrence): void {
  const { where } = occurrence;
  const how = { title: "overcommit" };
  const { "mem-lock": lock = "off" } = readCheckedList(overcommitProperties, occurrence, how);
  if (lock === "off") return;
  if (lock !== "on" && lock !== "on-fault") {
    throw new OptionError(`${where}parameter 'mem-lock' expects one of 'on', 'off', 'on-fault'`);
  }
  throw new OptionError(
    `${where}'mem-lock=${lock}' is not available: ` +
      "take huge pages, or set memory.swap.max=0 of the process's cgroup",
  );
}

/** Takes `none` only. */
function display(occurrence: Occurrence): void {
  const { where } = occurrence;
  if (occurrence.argument === "default") return;
  const { values, help } = readJsonOrTree(occurrence, "type");
  if (help || values["type"] === "help") {
    throw new InformationRequest("Available display backend types:\nnone");
  }
  const { type, ...others } = values;
  const kind = values["vnc"] === undefined ? type : "vnc";
  if (kind === undefined) throw new OptionError(`${where}Parameter 'type' is missing`);
  if (kind !== "none") {
    throw new OptionError(`${where}Parameter 'type' does not accept value '${kind}'`, headless);
  }
  const [other] = Object.keys(others);
  if (other !== undefined) throw new OptionError(`${where}Parameter '${other}' is unexpected`);
}

/** Takes `none` only. */
function audio(occurrence: Occurrence, needsId: boolean): void {
  const values = isJson(occurrence.argument)
    ? readJsonOrTree(occurrence, "driver").values
    : readList(occurrence, "driver").values;
  const { driver, id } = values;
  if (driver === "help" || driver === "?") {
    throw new InformationRequest("Available audio drivers:\nnone");
  }
  if (driver === "none" && (id !== undefined || !needsId)) return;
  if (driver === "none") throw new OptionError(`${occurrence.where}Parameter 'id' is missing`);
  throw new OptionError(
    `${occurrence.where}Parameter 'driver' does not accept value '${driver ?? ""}'`,
    "molt has no sound; use 'none'",
  );
}
