/**
 * Migration parameters, each declared once: name, type, default, range, error text, documentation.
 * What QMP, the human monitor and -global do with parameters follows from this table. Names, ranges,
 * defaults and texts are QEMU's (qapi/migration.json).
 */
import { MigrationError } from "./errors.ts";
import {
  bandwidth,
  bitmapMapping,
  boolean,
  command,
  enumeration,
  optionalText,
  type ParameterType,
  size,
  uint32,
  uint64,
  uint8,
  wideSize,
} from "./parameter_types.ts";

/** What is migrated and how. */
export const migrationModes = ["normal", "cpr-reboot", "cpr-transfer", "cpr-exec"] as const;
export type MigrationMode = typeof migrationModes[number];

const multifdCompressions = ["none", "zlib", "zstd"] as const;
export type MultifdCompression = typeof multifdCompressions[number];

const zeroPageDetections = ["none", "legacy", "multifd"] as const;
export type ZeroPageDetection = typeof zeroPageDetections[number];

const interimMonitorUses = ["auto", "on", "off"] as const;
/** Whether cpr-exec with a `uri` leaves the guest with an interim monitor. */
export type InterimMonitorUse = typeof interimMonitorUses[number];

/** A parameter's declaration. */
export interface Parameter<Value> {
  readonly type: ParameterType<Value>;
  readonly default: Value;
  readonly documentation: string;
  /** What a person sees behind a value. */
  readonly unit?: "ms" | "s" | "bytes" | "bytes/second" | "MB/s";
  /** What is wrong with a value of the right type: the whole text. */
  readonly complaint?: (value: Value) => string | undefined;
  /** Its name for -global migration.NAME=, if it can be given there. */
  readonly property?: string;
  /** `info migrate_parameters` leaves it out, as QEMU does. */
  readonly unlisted?: true;
}

/** The range of a number, with the text that says what is expected. */
function range(name: string, low: number, high: number, expected: string) {
  return (value: number) =>
    value < low || value > high ? `Option ${name} expects ${expected}` : undefined;
}

function isPowerOfTwo(value: number | bigint): boolean {
  const wide = BigInt(value);
  return wide !== 0n && (wide & (wide - 1n)) === 0n;
}

function refuseText(what: string) {
  return (value: string) => value === "" ? undefined : `${what} is not supported: TLS is missing`;
}

function declare<Value>(parameter: Parameter<Value>): Parameter<Value> {
  return parameter;
}

const TARGET_PAGE_SIZE = 4096;
const DAY_MS = 86_400_000;
const DAY_RANGE = `a value up to ${DAY_MS}`;
const throttleRange = "an integer in the range of cpu-throttle-initial to 99";

/** All parameters, in the order in which a person sees them. */
export const parameterTable = {
  "announce-initial": declare({
    type: size,
    default: 50,
    unit: "ms",
    property: "announce-initial",
    complaint: range("announce-initial", 0, 100000, "a value between 0 and 100000"),
    documentation: "Wait before the first announcement of the guest's place to the network.",
  }),
  "announce-max": declare({
    type: size,
    default: 550,
    unit: "ms",
    property: "announce-max",
    complaint: range("announce-max", 0, 100000, "a value between 0 and 100000"),
    documentation: "Longest wait between announcements.",
  }),
  "announce-rounds": declare({
    type: size,
    default: 5,
    property: "announce-rounds",
    complaint: range("announce-rounds", 0, 1000, "a value between 0 and 1000"),
    documentation: "Number of announcements.",
  }),
  "announce-step": declare({
    type: size,
    default: 100,
    unit: "ms",
    property: "announce-step",
    complaint: range("announce-step", 1, 10000, "a value between 0 and 10000"),
    documentation: "By how much the wait between announcements grows.",
  }),
  "throttle-trigger-threshold": declare({
    type: uint8,
    default: 50,
    property: "x-throttle-trigger-threshold",
    complaint: range(
      "throttle-trigger-threshold",
      1,
      100,
      "an integer in the range of 1 to 100",
    ),
    documentation: "auto-converge: percentage of what was sent in a period that the guest must " +
      "dirty in the same time before its vCPUs are slowed down.",
  }),
  "cpu-throttle-initial": declare({
    type: uint8,
    default: 20,
    property: "x-cpu-throttle-initial",
    complaint: range("cpu-throttle-initial", 1, 99, "an integer in the range of 1 to 99"),
    documentation: "auto-converge: percentage of their time that vCPUs lose at first.",
  }),
  "cpu-throttle-increment": declare({
    type: uint8,
    default: 10,
    property: "x-cpu-throttle-increment",
    complaint: range("cpu-throttle-increment", 1, 99, "an integer in the range of 1 to 99"),
    documentation: "auto-converge: percentage that they lose in addition when that is not enough.",
  }),
  "cpu-throttle-tailslow": declare({
    type: boolean,
    default: false,
    property: "x-cpu-throttle-tailslow",
    documentation: "auto-converge: take smaller steps when little is left to gain.",
  }),
  "max-cpu-throttle": declare({
    type: uint8,
    default: 99,
    property: "max-cpu-throttle",
    complaint: range("max-cpu-throttle", 1, 99, throttleRange),
    documentation: "auto-converge: the largest percentage that vCPUs lose.",
  }),
  "tls-creds": declare({
    type: optionalText,
    default: "",
    property: "tls-creds",
    complaint: refuseText("tls-creds"),
    documentation: "Object with the credentials for encryption; refused.",
  }),
  "tls-hostname": declare({
    type: optionalText,
    default: "",
    property: "tls-hostname",
    complaint: refuseText("tls-hostname"),
    documentation: "Name expected in the other side's certificate; refused.",
  }),
  "tls-authz": declare({
    type: optionalText,
    default: "",
    property: "tls-authz",
    complaint: refuseText("tls-authz"),
    documentation: "Object that decides whom to accept; refused.",
  }),
  "max-bandwidth": declare({
    type: bandwidth,
    default: 134217728,
    unit: "bytes/second",
    property: "x-max-bandwidth",
    documentation: "How much is sent while the guest runs; 0: no limit.",
  }),
  "avail-switchover-bandwidth": declare({
    type: bandwidth,
    default: 0,
    unit: "bytes/second",
    property: "avail-switchover-bandwidth",
    documentation: "What can be sent while the guest is paused, for deciding whether the rest " +
      "fits downtime-limit; 0: what was measured.",
  }),
  "max-postcopy-bandwidth": declare({
    type: wideSize,
    default: 0,
    unit: "bytes/second",
    property: "max-postcopy-bandwidth",
    documentation: "Background transfer in postcopy, which is not supported.",
  }),
  "downtime-limit": declare({
    type: uint64,
    default: 300,
    unit: "ms",
    property: "x-downtime-limit",
    complaint: range(
      "downtime-limit",
      0,
      2000 * 1000,
      "an integer in the range of 0 to (2000 * 1000) ms",
    ),
    documentation: "How long the guest may be paused.",
  }),
  "x-checkpoint-delay": declare({
    type: uint32,
    default: 20000,
    unit: "ms",
    property: "x-checkpoint-delay",
    documentation: "Time between COLO's checkpoints, which are not supported.",
  }),
  "multifd-channels": declare({
    type: uint8,
    default: 2,
    property: "multifd-channels",
    complaint: range("multifd-channels", 1, 255, "a value between 1 and 255"),
    documentation: "Channels that pages go through with multifd.",
  }),
  "multifd-compression": declare<MultifdCompression>({
    type: enumeration(multifdCompressions),
    default: "none",
    property: "multifd-compression",
    documentation: "How pages are compressed with multifd.",
  }),
  "multifd-zlib-level": declare({
    type: uint8,
    default: 1,
    property: "multifd-zlib-level",
    complaint: range("multifd-zlib-level", 0, 9, "a value between 0 and 9"),
    unlisted: true,
    documentation: "zlib's level, 9 compressing most; 0: not at all.",
  }),
  "multifd-qatzip-level": declare({
    type: uint8,
    default: 1,
    property: "multifd-qatzip-level",
    complaint: range("multifd-qatzip-level", 1, 9, "a value between 1 and 9"),
    unlisted: true,
    documentation: "Level of a compression that is not supported.",
  }),
  "multifd-zstd-level": declare({
    type: uint8,
    default: 1,
    property: "multifd-zstd-level",
    complaint: range("multifd-zstd-level", 0, 20, "a value between 0 and 20"),
    unlisted: true,
    documentation: "zstd's level, 20 compressing most; 0: zstd's own default.",
  }),
  "zero-page-detection": declare<ZeroPageDetection>({
    type: enumeration(zeroPageDetections),
    default: "multifd",
    property: "zero-page-detection",
    documentation: "Who looks for zero pages: nobody, the main channel, or each multifd channel.",
  }),
  "xbzrle-cache-size": declare({
    type: wideSize,
    default: 67108864,
    unit: "bytes",
    property: "xbzrle-cache-size",
    complaint: (value) =>
      value < TARGET_PAGE_SIZE || !isPowerOfTwo(value)
        ? "Option xbzrle-cache-size expects a power of two no less than the target page size"
        : undefined,
    documentation: "Memory for previous contents of pages with xbzrle, which is not supported.",
  }),
  "block-bitmap-mapping": declare({
    type: bitmapMapping,
    default: undefined,
    unlisted: true,
    documentation: "Names by which dirty bitmaps travel, which are not supported: only an empty " +
      "list is accepted.",
  }),
  "x-vcpu-dirty-limit-period": declare({
    type: uint64,
    default: 1000,
    unit: "ms",
    property: "x-vcpu-dirty-limit-period",
    complaint: range("x-vcpu-dirty-limit-period", 1, 1000, "a value between 1 and 1000"),
    documentation: "Period of the dirty-limit capability, which is not supported.",
  }),
  "vcpu-dirty-limit": declare({
    type: { ...wideSize, parseProperty: uint64.parseProperty },
    default: 1,
    unit: "MB/s",
    property: "vcpu-dirty-limit",
    complaint: (value) =>
      value < 1 ? "Parameter 'vcpu-dirty-limit' must be greater than 1 MB/s" : undefined,
    documentation: "Limit of the dirty-limit capability, which is not supported.",
  }),
  "mode": declare<MigrationMode>({
    type: enumeration(migrationModes),
    default: "normal",
    property: "mode",
    documentation: "normal: to another process or host, or to a file. cpr-reboot: the same, the " +
      "guest being stopped first. cpr-transfer: to another process that shares the guest's " +
      "memory. cpr-exec: to the program that replaces this one.",
  }),
  "direct-io": declare({
    type: boolean,
    default: false,
    documentation: "mapped-ram with multifd: pages bypass the host's page cache.",
  }),
  "x-rdma-chunk-size": declare({
    type: uint64,
    default: 1048576,
    unit: "bytes",
    property: "x-rdma-chunk-size",
    complaint: (value) =>
      value < (1 << 20) || value > (1 << 30) || !isPowerOfTwo(value)
        ? "Option x_rdma_chunk_size expects a power of 2 in the range 1MiB to 1024MiB"
        : undefined,
    documentation: "Unit of transfers by RDMA, which is not supported.",
  }),
  "cpr-exec-command": declare<readonly string[]>({
    type: command,
    default: [],
    documentation: "What cpr-exec executes: program and arguments.",
  }),
  "x-handover-timeout": declare({
    type: uint32,
    default: 30_000,
    unit: "ms",
    property: "x-handover-timeout",
    complaint: range("x-handover-timeout", 1, DAY_MS, DAY_RANGE),
    documentation: "How long either side waits for the other one where the guest, or its " +
      "descriptors, go from one to the other.",
  }),
  "x-successor-timeout": declare({
    type: uint32,
    default: 30_000,
    unit: "ms",
    property: "x-successor-timeout",
    complaint: range("x-successor-timeout", 1, DAY_MS, DAY_RANGE),
    documentation: "cpr-exec: how long the guest waits with its interim monitor for the program " +
      "that was executed. That one is ended then.",
  }),
  "x-interim-monitor": declare({
    type: enumeration(interimMonitorUses),
    default: "auto",
    property: "x-interim-monitor",
    documentation: "cpr-exec with a uri: whether an interim monitor keeps the guest for the " +
      "program that is executed. auto: the guest runs there for a program that is known to ask " +
      "for it, and waits there, paused, for what a script may start; on: it waits there for any " +
      "other program too; off: the file is all that there is, as with QEMU.",
  }),
  "x-tcp-user-timeout": declare({
    type: uint32,
    default: 30_000,
    unit: "ms",
    property: "x-tcp-user-timeout",
    complaint: range("x-tcp-user-timeout", 0, DAY_MS, `${DAY_RANGE}; 0 is the system's own`),
    documentation: "TCP: how long what was sent may stay unacknowledged before the connection " +
      "breaks; 0: the system's own limit.",
  }),
  "x-keep-alive-idle": declare({
    type: uint32,
    default: 10,
    unit: "s",
    property: "x-keep-alive-idle",
    complaint: range("x-keep-alive-idle", 0, 32767, "a value between 0 and 32767"),
    documentation: "TCP: after how long a silence the other side is probed, unless the address " +
      "says so; 0: never.",
  }),
  "x-keep-alive-interval": declare({
    type: uint32,
    default: 5,
    unit: "s",
    property: "x-keep-alive-interval",
    complaint: range("x-keep-alive-interval", 1, 32767, "a value between 1 and 32767"),
    documentation: "TCP: the time between two probes.",
  }),
  "x-keep-alive-count": declare({
    type: uint32,
    default: 4,
    property: "x-keep-alive-count",
    complaint: range("x-keep-alive-count", 1, 127, "a value between 1 and 127"),
    documentation: "TCP: after how many probes without an answer the connection breaks.",
  }),
} as const;

type Table = typeof parameterTable;

/** The name of a parameter. */
export type ParameterName = keyof Table;

/** All parameters' values. */
export type MigrationParameters = {
  readonly [Name in ParameterName]: Table[Name] extends Parameter<infer Value> ? Value : never;
};

/** The declaration of each parameter, without what its value is. */
export const parameterDeclarations: ReadonlyMap<string, Parameter<unknown>> = new Map(
  Object.entries(parameterTable).map(([name, parameter]) => [
    name,
    parameter as Parameter<unknown>,
  ]),
);

const defaults = Object.fromEntries(
  Object.entries(parameterTable).map(([name, parameter]) => [name, parameter.default]),
) as MigrationParameters;

/** The parameters of a machine's migrations. */
export class ParameterStore {
  #values: MigrationParameters = defaults;

  /** The values now. */
  get values(): MigrationParameters {
    return this.#values;
  }

  /** Sets the parameters in `given`, values being those of QMP: all of them, or none. */
  set(given: Readonly<Record<string, unknown>>): void {
    const changes = Object.entries(given).filter(([, value]) => value !== undefined);
    this.#apply(changes.map(([name, value]) => [name, declarationOf(name).type.read(name, value)]));
  }

  /** Sets one parameter to what a person typed. */
  setFromText(name: string, text: string): void {
    const parameter = parameterDeclarations.get(name);
    if (parameter === undefined) throw new MigrationError(`invalid parameter value: ${name}`);
    this.#apply([[name, parameter.type.parse(name, text)]]);
  }

  /** Sets parameters as -global gave them, by name. */
  setProperties(given: ReadonlyMap<ParameterName, unknown>): void {
    this.#apply([...given]);
  }

  /** `name: value unit` of those that `info migrate_parameters` shows. */
  describe(): string[] {
    return [...parameterDeclarations].filter(([, { unlisted }]) => !unlisted)
      .map(([name, { type, unit }]) => {
        const value = type.show(valueOf(this.#values, name));
        return `${name}:${value === "" ? "" : ` ${value}`}${unit === undefined ? "" : ` ${unit}`}`;
      });
  }

  #apply(changes: readonly (readonly [string, unknown])[]): void {
    const values: MigrationParameters = { ...this.#values, ...Object.fromEntries(changes) };
    for (const [name, { complaint }] of parameterDeclarations) {
      const text = complaint?.(valueOf(values, name));
      if (text !== undefined) throw new MigrationError(text);
    }
    if (values["max-cpu-throttle"] < values["cpu-throttle-initial"]) {
      throw new MigrationError(`Option max-cpu-throttle expects ${throttleRange}`);
    }
    this.#values = values;
  }
}

function declarationOf(name: string): Parameter<unknown> {
  const parameter = parameterDeclarations.get(name);
  if (parameter === undefined) throw new MigrationError(`Parameter '${name}' is unexpected`);
  return parameter;
}

function valueOf(values: MigrationParameters, name: string): unknown {
  return Object.getOwnPropertyDescriptor(values, name)?.value;
}

/** The values before anybody sets some. */
export function defaultParameters(): MigrationParameters {
  return { ...defaults };
}
