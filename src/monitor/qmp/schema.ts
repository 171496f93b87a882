/**
 * query-qmp-schema: commands and events described as QEMU's introspection does (qapi/introspect.json).
 * Types have no names of their own but numbers; arrays are `[element]`.
 */
import * as z from "zod";
import type { CommandTable } from "../command.ts";
import { eventSchemas } from "../event_schemas.ts";
import type { JsonObject } from "../../json/value.ts";

const builtins: readonly (readonly [name: string, jsonType: string])[] = [
  ["str", "string"],
  ["int", "int"],
  ["number", "number"],
  ["bool", "boolean"],
  ["null", "null"],
  ["any", "value"],
];

/** Collects types as commands and events mention them. */
class SchemaBuilder {
  readonly #types: JsonObject[] = [];
  /** Type names by what they stand for. */
  readonly #names = new Map<string, string>();

  get types(): readonly JsonObject[] {
    return this.#types;
  }

  /** The name of `schema`'s type. */
  nameOf(schema: z.core.$ZodType): string {
    const qapi = z.globalRegistry.get(schema as z.ZodType)?.["qapi"];
    if (qapi === "StrOrNull") {
      return this.#add({ "meta-type": "alternate", members: [{ type: "str" }, { type: "null" }] });
    }
    if (typeof qapi === "string") return qapi;
    if (schema instanceof z.ZodOptional) return this.nameOf(schema.unwrap());
    if (schema instanceof z.ZodString) return "str";
    if (schema instanceof z.ZodBoolean) return "bool";
    if (schema instanceof z.ZodNumber) return "number";
    if (schema instanceof z.ZodLiteral) return this.#enumeration([...schema.values].map(String));
    if (schema instanceof z.ZodEnum) return this.#enumeration(schema.options.map(String));
    if (schema instanceof z.ZodArray) return this.#array(this.nameOf(schema.element));
    if (schema instanceof z.ZodDiscriminatedUnion) return this.#union(schema);
    if (schema instanceof z.ZodObject) return this.#object({ members: this.#members(schema) });
    if (schema instanceof z.ZodRecord) return "any";
    throw new TypeError(`The schema cannot describe a ${schema._zod.def.type}`);
  }

  #add(definition: JsonObject): string {
    const key = JSON.stringify(definition);
    const known = this.#names.get(key);
    if (known !== undefined) return known;
    const name = String(this.#names.size);
    this.#names.set(key, name);
    this.#types.push({ name, ...definition });
    return name;
  }

  #enumeration(values: readonly string[]): string {
    const members = values.map((name) => ({ name }));
    return this.#add({ "meta-type": "enum", values: [...values], members });
  }

  #array(element: string): string {
    const name = `[${element}]`;
    if (!this.#names.has(name)) {
      this.#names.set(name, name);
      this.#types.push({ name, "meta-type": "array", "element-type": element });
    }
    return name;
  }

  #object(definition: JsonObject): string {
    return this.#add({ "meta-type": "object", ...definition });
  }

  #members(schema: z.ZodObject, except: readonly string[] = []): JsonObject[] {
    return Object.entries(schema.shape).filter(([name]) => !except.includes(name)).map(
      ([name, member]) => ({
        name,
        type: this.nameOf(member),
        ...(member instanceof z.ZodOptional ? { default: null } : {}),
      }),
    );
  }

  /**
   * A flat union: the discriminator, and by its value the other members. An option that is a union has
   * the outer discriminator in each of its own, which `outer` leaves out.
   */
  #union(schema: z.ZodDiscriminatedUnion, outer: readonly string[] = []): string {
    const { discriminator } = schema.def;
    const except = [...outer, discriminator];
    const variants: { case: string; type: string }[] = [];
    for (const option of schema.options) {
      const inner = option instanceof z.ZodDiscriminatedUnion ? option : undefined;
      const object = inner?.options[0] ?? option;
      if (!(object instanceof z.ZodObject)) throw new TypeError("a union of what is no object");
      const tag: unknown = object.shape[discriminator];
      if (!(tag instanceof z.ZodLiteral)) throw new TypeError("a union without a literal tag");
      const type = inner === undefined
        ? this.#object({ members: this.#members(object, except) })
        : this.#union(inner, except);
      for (const value of tag.values) variants.push({ case: String(value), type });
    }
    const tagType = this.#enumeration(variants.map((variant) => variant.case));
    const members = [{ name: discriminator, type: tagType }];
    return this.#object({ members, tag: discriminator, variants });
  }
}

/** The whole schema of `commands`, and of all events. */
export function describeSchema(commands: CommandTable): JsonObject[] {
  const builder = new SchemaBuilder();
  const empty = builder.nameOf(z.strictObject({}));
  const entities: JsonObject[] = [];
  for (const command of commands.values()) {
    entities.push({
      name: command.name,
      "meta-type": "command",
      "arg-type": builder.nameOf(command.arguments),
      "ret-type": command.returns === undefined ? empty : builder.nameOf(command.returns),
      ...(command.oob ? { "allow-oob": true } : {}),
    });
  }
  for (const [name, data] of Object.entries(eventSchemas)) {
    entities.push({ name, "meta-type": "event", "arg-type": builder.nameOf(data) });
  }
  const builtinTypes = builtins.map(([name, jsonType]) => ({
    name,
    "meta-type": "builtin",
    "json-type": jsonType,
  }));
  return [...entities, ...builtinTypes, ...builder.types];
}
