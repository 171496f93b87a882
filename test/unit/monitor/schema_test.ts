import { assert, assertEquals } from "@std/assert";
import { commands } from "../../../src/monitor/commands/index.ts";
import { describeSchema } from "../../../src/monitor/qmp/schema.ts";

interface Member {
  readonly name: string;
  readonly type: string;
  readonly default?: null;
}

/** qapi/introspect.json: SchemaInfo. */
interface Entity {
  readonly name: string;
  readonly "meta-type": string;
  readonly "arg-type"?: string;
  readonly "ret-type"?: string;
  readonly "element-type"?: string;
  readonly "json-type"?: string;
  readonly "allow-oob"?: boolean;
  readonly members?: readonly Member[];
  readonly tag?: string;
  readonly variants?: readonly { readonly case: string; readonly type: string }[];
}

type Schema = ReadonlyMap<string, Entity>;

function index(entities: readonly Entity[]): Schema {
  return new Map(entities.map((entity) => [entity.name, entity]));
}

/** QEMU 11.1.3's answer to query-qmp-schema. */
async function readQemuSchema(): Promise<Schema> {
  const file = await Deno.open(
    `${import.meta.dirname}/../../golden/qmp-schema-11.1.3.json.gz`,
  );
  const text = await new Response(file.readable.pipeThrough(new DecompressionStream("gzip")))
    .json();
  return index(Array.isArray(text) ? text : text.return);
}

function entity(schema: Schema, name: string | undefined): Entity {
  const found = schema.get(name ?? "");
  if (found === undefined) throw new Error(`type ${name} is not in the schema`);
  return found;
}

/** Commands and events that are molt's own. */
const own = ["x-query-update", "x-check-update", "x-rename-file", "x-MONITOR_REPLACED"];

/**
 * Where `ours` is not a part of `theirs`: a member they do not have, another type, an optional
 * argument that they require, a result that they always give and we may not.
 */
function differences(
  ours: readonly [Schema, string],
  theirs: readonly [Schema, string],
  role: "argument" | "result",
  path: string,
): string[] {
  const a = entity(...ours);
  const b = entity(...theirs);
  const names = (type: Entity) => (type.members ?? []).map(({ name }) => name);
  if (b["json-type"] === "value" || a["json-type"] === "value") return [];
  // QEMU has enumerations where we have said no more than that it is text.
  if (a["json-type"] === "string" && b["meta-type"] === "enum") return [];
  if (a["meta-type"] !== b["meta-type"]) {
    return [`${path}: ${a["meta-type"]}, not ${b["meta-type"]}`];
  }
  switch (a["meta-type"]) {
    case "alternate":
      return [];
    case "builtin":
      return a["json-type"] === b["json-type"] ? [] : [`${path}: ${a.name}, not ${b.name}`];
    case "enum":
      return names(a).filter((name) => !names(b).includes(name)).map((name) =>
        `${path}: no value ${name}`
      );
    case "array":
      return differences(
        [ours[0], a["element-type"] ?? ""],
        [theirs[0], b["element-type"] ?? ""],
        role,
        `${path}[]`,
      );
  }
  const found: string[] = [];
  for (const member of a.members ?? []) {
    const counterpart = b.members?.find(({ name }) => name === member.name);
    const here = `${path}.${member.name}`;
    if (counterpart === undefined) {
      // QEMU's schema has x- where it promises nothing: molt's own members have it too.
      if (!member.name.startsWith("x-")) found.push(`${here}: unknown`);
      continue;
    }
    const optional = "default" in member;
    const mayBeAbsent = "default" in counterpart;
    if (role === "argument" && mayBeAbsent && !optional) found.push(`${here}: required`);
    if (role === "result" && !mayBeAbsent && optional) found.push(`${here}: optional`);
    found.push(...differences([ours[0], member.type], [theirs[0], counterpart.type], role, here));
  }
  for (const member of b.members ?? []) {
    const known = names(a).includes(member.name);
    if (role === "result" && !known && !("default" in member)) {
      found.push(`${path}.${member.name}: missing`);
    }
  }
  // A result may leave out variants, and with them that they depend on a member.
  if (a.tag !== undefined || role === "argument") assertEquals(a.tag, b.tag, path);
  for (const variant of a.variants ?? []) {
    const counterpart = b.variants?.find((candidate) => candidate.case === variant.case);
    const here = `${path}(${variant.case})`;
    if (counterpart === undefined) found.push(`${here}: unknown`);
    else {found.push(
        ...differences([ours[0], variant.type], [theirs[0], counterpart.type], role, here),
      );}
  }
  return found;
}

Deno.test("every command takes and gives what QEMU's command of that name does", async () => {
  const ours = index(describeSchema(commands) as unknown as Entity[]);
  const theirs = await readQemuSchema();
  const found: string[] = [];
  for (const command of ours.values()) {
    if (command["meta-type"] !== "command" || own.includes(command.name)) continue;
    const counterpart = theirs.get(command.name);
    if (counterpart === undefined) {
      found.push(`${command.name}: unknown`);
      continue;
    }
    assertEquals(command["allow-oob"], counterpart["allow-oob"], command.name);
    found.push(
      ...differences(
        [ours, command["arg-type"] ?? ""],
        [theirs, counterpart["arg-type"] ?? ""],
        "argument",
        command.name,
      ),
      ...differences(
        [ours, command["ret-type"] ?? ""],
        [theirs, counterpart["ret-type"] ?? ""],
        "result",
        `${command.name}()`,
      ),
    );
  }
  assertEquals(found, []);
});

Deno.test("every event carries what QEMU's event of that name does", async () => {
  const ours = index(describeSchema(commands) as unknown as Entity[]);
  const theirs = await readQemuSchema();
  const found: string[] = [];
  for (const event of ours.values()) {
    if (event["meta-type"] !== "event" || own.includes(event.name)) continue;
    const counterpart = entity(theirs, event.name);
    found.push(
      ...differences(
        [ours, event["arg-type"] ?? ""],
        [theirs, counterpart["arg-type"] ?? ""],
        "result",
        event.name,
      ),
    );
  }
  assertEquals(found, []);
});

Deno.test("the schema mentions no type that it does not describe", () => {
  const schema = index(describeSchema(commands) as unknown as Entity[]);
  for (const { name, ...info } of schema.values()) {
    const mentioned = [
      info["arg-type"],
      info["ret-type"],
      info["element-type"],
      ...(info["meta-type"] === "object" ? info.members ?? [] : []).map(({ type }) => type),
      ...(info.variants ?? []).map(({ type }) => type),
    ];
    for (const type of mentioned) {
      if (type !== undefined) assert(schema.has(type), `${name} mentions ${type}`);
    }
  }
});
