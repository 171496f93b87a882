/** -object: memory backends, I/O threads, random numbers, monitors. */
import { InformationRequest } from "../information.ts";
import { OptionError } from "../../configuration/errors.ts";
import {
  boolean,
  choice,
  defaulting,
  describeProperties,
  given,
  integer,
  limited,
  onOffAuto,
  type PropertiesOf,
  type PropertyTable,
  refused,
  required,
  size,
  text,
} from "../../configuration/property.ts";
import { readProperties, type Source } from "../property_reader.ts";
import { identifierHint, type TreeObject } from "../syntax.ts";
import {
  discriminator,
  isJson,
  type Occurrence,
  type Option,
  type OptionGroup,
  readList,
  without,
} from "../option.ts";
import { parseJsonObject } from "../json.ts";
import { isIdentifier } from "../../configuration/values.ts";
import type { MemoryBackendConfig, ObjectConfig } from "../../configuration/object.ts";

const noNuma = "start molt under numactl(8) to place its memory";

const memoryProperties = {
  size: required(size("Size of the memory region (ex: 500M)")),
  share: boolean("Mark the memory as private to molt or shared"),
  prealloc: defaulting(boolean("Preallocate memory"), false),
  "prealloc-threads": integer("uint32", "Number of threads for prealloc (one is used)"),
  "prealloc-context": refused("preallocation runs in the calling thread"),
  merge: boolean("Mark memory as mergeable"),
  dump: boolean("Set to 'off' to exclude from core dump"),
  reserve: boolean("Reserve swap space (or huge pages) if applicable"),
  policy: limited(
    choice(["default", "preferred", "bind", "interleave"], "NUMA policy"),
    ["default"],
    noNuma,
  ),
  "host-nodes": refused(noNuma),
  "x-use-canonical-path-for-ramblock-id": limited(
    boolean(),
    [false],
    "RAM blocks are named by their ids",
  ),
};

const memfdProperties = {
  ...memoryProperties,
  hugetlb: defaulting(boolean("Use huge pages"), false),
  hugetlbsize: size("Huge pages size (ex: 2M, 1G)"),
  seal: defaulting(boolean("Seal growing & shrinking"), true),
};

const fileProperties = {
  ...memoryProperties,
  "mem-path": required(text("File or directory that holds the memory")),
  align: defaulting(size("Alignment of the mapping"), 0),
  offset: defaulting(size("Offset into the target file (ex: 1G)"), 0),
  "discard-data": defaulting(boolean("The data need not be written back at the end"), false),
  pmem: limited(
    boolean("Persistent memory"),
    [false],
    "stores are not flushed to persistence; leave it off",
  ),
  readonly: defaulting(boolean("Open the file read-only"), false),
  rom: limited(
    onOffAuto("Memory the guest cannot write"),
    ["auto", "off"],
    "guest RAM is writable",
  ),
};

const iothreadProperties = {
  "poll-max-ns": defaulting(integer("int64", "Longest busy wait in ns"), 32768),
  "poll-grow": integer("int64"),
  "poll-shrink": integer("int64"),
  "poll-weight": integer("int64"),
  "aio-max-batch": integer("int64"),
  "thread-pool-min": integer("int64"),
  "thread-pool-max": integer("int64"),
};

const rngRandomProperties = { filename: defaulting(text("Where to read from"), "/dev/urandom") };
const rngEgdProperties = { chardev: required(text("Character device of the daemon")) };

const qmpMonitorProperties = {
  chardev: required(text("Character device")),
  pretty: defaulting(boolean("Indent replies"), false),
  "close-action": limited(choice(["none", "delete"]), ["none"], "use none"),
};
const hmpMonitorProperties = {
  chardev: required(text("Character device")),
  readline: defaulting(boolean("Line editing"), true),
};

const idProperties = { id: required(text("Name of the object")) };

/** The objects that molt has, with their properties. */
const tables = {
  "iothread": iothreadProperties,
  "memory-backend-file": fileProperties,
  "memory-backend-memfd": memfdProperties,
  "memory-backend-ram": memoryProperties,
  "memory-backend-shm": memoryProperties,
  "monitor-hmp": hmpMonitorProperties,
  "monitor-qmp": qmpMonitorProperties,
  "rng-builtin": {},
  "rng-egd": rngEgdProperties,
  "rng-random": rngRandomProperties,
} satisfies Record<string, PropertyTable>;
type ObjectType = keyof typeof tables;

/** Objects that QEMU has and molt has not, with advice. */
const foreignObjects: ReadonlyMap<string, string> = new Map([
  ["secret", "images are not encrypted"],
  ["secret_keyring", "images are not encrypted"],
  ["tls-creds-anon", "there is no TLS; use unix sockets or a tunnel"],
  ["tls-creds-psk", "there is no TLS; use unix sockets or a tunnel"],
  ["tls-creds-x509", "there is no TLS; use unix sockets or a tunnel"],
  ["tls-cipher-suites", "there is no TLS; use unix sockets or a tunnel"],
  ["throttle-group", "limit I/O with the host's cgroups"],
  ["thread-context", "place threads with taskset(1)"],
  ["main-loop", "the main loop has no parameters"],
  ["qtest", "use the option -qtest"],
  ["sev-guest", "guests are not encrypted"],
  ["sev-snp-guest", "guests are not encrypted"],
  ["tdx-guest", "guests are not encrypted"],
]);

function isObjectType(type: string): type is ObjectType {
  return Object.hasOwn(tables, type);
}

export class ObjectOptions implements OptionGroup {
  readonly title = "Generic object creation";
  readonly #objects = new Map<string, ObjectConfig>();

  readonly options: readonly Option[] = [{
    names: ["object"],
    argument: "TYPENAME[,PROP1=VALUE1,...]",
    help: [
      "create an object ('-object help' for the types, '-object TYPE,help' for properties),",
      'or as JSON: \'{"qom-type":TYPENAME,"id":ID,...}\'',
    ],
    apply: (occurrence) => this.#object(occurrence),
  }];

  /** In the order of the command line. */
  finish(): readonly ObjectConfig[] {
    return [...this.#objects.values()];
  }

  /** A memory backend's size in bytes. */
  backendSize(id: string): number | undefined {
    const object = this.#objects.get(id);
    return object?.type === "memory-backend" ? object.size : undefined;
  }

  /** Adds an object that an option other than -object stands for. */
  add(object: ObjectConfig): void {
    this.#objects.set(object.id, object);
  }

  #object(occurrence: Occurrence): void {
    const { argument, where } = occurrence;
    const json = isJson(argument);
    const { values, help } = json
      ? { values: parseJsonObject(argument, where), help: false }
      : readList(occurrence, "qom-type");
    const asked = values["qom-type"];
    if (asked === "help" || asked === "?") throw new InformationRequest(listTypes());
    const type = discriminator(values, "qom-type", where);
    if (!isObjectType(type)) {
      throw new OptionError(
        `${where}Parameter 'qom-type' does not accept value '${type}'`,
        foreignObjects.get(type),
      );
    }
    if (help) {
      const properties = describeProperties(tables[type]);
      throw new InformationRequest(
        properties === "" ? `There are no options for ${type}.` : `${type} options:\n${properties}`,
      );
    }
    const source: Source = { dialect: json ? "json" : "visitor", where };
    const { id } = readProperties(idProperties, source, given({ id: values["id"] }));
    const object = create(type, id, source, without(values, "qom-type", "id"));
    if (!isIdentifier(id)) {
      throw new OptionError("Parameter 'id' expects an identifier", identifierHint);
    }
    if (this.#objects.has(id)) {
      throw new OptionError(
        json
          ? `attempt to add duplicate property '${id}' to object (type 'container')`
          : `${where}Duplicate ID '${id}' for object`,
      );
    }
    this.#objects.set(id, object);
  }
}

function listTypes(): string {
  return ["List of user creatable objects:", ...Object.keys(tables).map((type) => `  ${type}`)]
    .join("\n");
}

function create(type: ObjectType, id: string, source: Source, values: TreeObject): ObjectConfig {
  switch (type) {
    case "memory-backend-ram": {
      const properties = readProperties(memoryProperties, source, values);
      const common = memoryBackend(type, id, properties);
      return { ...common, kind: "ram", share: properties.share ?? false };
    }
    case "memory-backend-shm": {
      const properties = readProperties(memoryProperties, source, values);
      if (properties.share === false) {
        throw new OptionError("can't create shm backend with `share=off`");
      }
      return { ...memoryBackend(type, id, properties), kind: "shm" };
    }
    case "memory-backend-memfd":
      return memfd(id, readProperties(memfdProperties, source, values));
    case "memory-backend-file":
      return file(id, readProperties(fileProperties, source, values));
    case "iothread":
      return iothread(id, readProperties(iothreadProperties, source, values));
    case "rng-builtin":
      readProperties({}, source, values);
      return { type, id };
    case "rng-random":
      return { type, id, ...readProperties(rngRandomProperties, source, values) };
    case "rng-egd":
      return { type, id, ...readProperties(rngEgdProperties, source, values) };
    case "monitor-qmp": {
      const { chardev, pretty } = readProperties(qmpMonitorProperties, source, values);
      return { type: "monitor", id, chardev, mode: "control", pretty };
    }
    case "monitor-hmp": {
      const { chardev } = readProperties(hmpMonitorProperties, source, values);
      return { type: "monitor", id, chardev, mode: "readline", pretty: false };
    }
  }
}

type CommonBackend = Pick<
  MemoryBackendConfig,
  "type" | "id" | "size" | "prealloc" | "merge" | "dump" | "alignment"
>;

function memoryBackend(
  type: string,
  id: string,
  properties: PropertiesOf<typeof memoryProperties>,
): CommonBackend {
  const { size, prealloc, merge, dump } = properties;
  if (size === 0) throw new OptionError(`property 'size' of ${type} doesn't take value '0'`);
  if (properties["prealloc-threads"] === 0) {
    throw new OptionError(`property 'prealloc-threads' of ${type} doesn't take value '0'`);
  }
  if (prealloc && properties.reserve === false) {
    throw new OptionError("'prealloc=on' and 'reserve=off' are incompatible");
  }
  return { type: "memory-backend", id, size, prealloc, alignment: 0, ...given({ merge, dump }) };
}

/** Bytes of a page of the host. */
const pageSize = 4096;

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}

function memfd(id: string, properties: PropertiesOf<typeof memfdProperties>): ObjectConfig {
  const { hugetlb, hugetlbsize, seal, share } = properties;
  const common = memoryBackend("memory-backend-memfd", id, properties);
  if (hugetlb && hugetlbsize !== undefined && !isPowerOfTwo(hugetlbsize)) {
    throw new OptionError("Hugepage size must be a power of 2");
  }
  return {
    ...common,
    kind: "memfd",
    share: share ?? true,
    seal,
    ...given({ hugePageSize: hugetlb ? hugetlbsize ?? 0 : undefined }),
  };
}

function file(id: string, properties: PropertiesOf<typeof fileProperties>): ObjectConfig {
  const common = memoryBackend("memory-backend-file", id, properties);
  for (const [name, value] of [["alignment", properties.align], ["offset", properties.offset]]) {
    if (Number(value) % pageSize === 0) continue;
    throw new OptionError(
      `${name} 0x${value?.toString(16)} must be multiples of page size 0x${pageSize.toString(16)}`,
    );
  }
  return {
    ...common,
    kind: "file",
    share: properties.share ?? false,
    path: properties["mem-path"],
    alignment: properties.align,
    offset: properties.offset,
    readOnly: properties.readonly,
    discardData: properties["discard-data"],
  };
}

function iothread(id: string, properties: PropertiesOf<typeof iothreadProperties>): ObjectConfig {
  for (const name of ["poll-max-ns", "poll-grow", "poll-shrink", "poll-weight"] as const) {
    if ((properties[name] ?? 0) < 0) {
      throw new OptionError(`${name} value must be in range [0, 9223372036854775807]`);
    }
  }
  const lowest = properties["thread-pool-min"] ?? 0;
  if (lowest < 0 || lowest > (properties["thread-pool-max"] ?? 64)) {
    throw new OptionError("bad thread-pool-min/thread-pool-max values");
  }
  return { type: "iothread", id, pollMaxNs: properties["poll-max-ns"] };
}
