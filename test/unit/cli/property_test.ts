import { assertEquals, assertThrows } from "@std/assert";
import { OptionError } from "../../../src/configuration/errors.ts";
import {
  boolean,
  choice,
  defaulting,
  describeProperties,
  integer,
  limited,
  list,
  type PropertiesOf,
  record,
  refused,
  required,
  size,
  text,
} from "../../../src/configuration/property.ts";
import { readProperties } from "../../../src/cli/property_reader.ts";

const table = {
  id: required(text("Name")),
  size: defaulting(size("Bytes"), 4096),
  share: defaulting(boolean("Shared"), false),
  policy: choice(["default", "bind"]),
  queues: integer("uint16"),
  args: list(text()),
  cache: record({ direct: defaulting(boolean(), false) }),
  packed: limited(boolean(), [false], "leave it off"),
  numa: refused("use numactl"),
};

Deno.test("one declaration gives the check, the defaults and the type", () => {
  const read: PropertiesOf<typeof table> = readProperties(
    table,
    { dialect: "keyval", where: "" },
    { id: "a", queues: "0x10", args: ["b", "c"], cache: { direct: "on" }, packed: "off" },
  );
  assertEquals(read, {
    id: "a",
    size: 4096,
    share: false,
    queues: 16,
    args: ["b", "c"],
    cache: { direct: true },
    packed: false,
  });
});

Deno.test("JSON has numbers and switches of its own, not texts", () => {
  const source = { dialect: "json", where: "" } as const;
  assertEquals(readProperties(table, source, { id: "a", size: 1, share: true }), {
    id: "a",
    size: 1,
    share: true,
  });
  const complaint = (values: Record<string, string | number>) =>
    assertThrows(() => readProperties(table, source, { id: "a", ...values }), OptionError).message;
  assertEquals(complaint({ size: "1M" }), "Parameter 'size' expects uint64");
  assertEquals(complaint({ share: "on" }), "Invalid parameter type for 'share', expected: boolean");
  assertEquals(complaint({ policy: 1 }), "Invalid parameter type for 'policy', expected: string");
});

Deno.test("what only molt refuses is named with its value and what to do instead", () => {
  const complaint = (values: Record<string, string>) =>
    assertThrows(
      () => readProperties(table, { dialect: "keyval", where: "-x: " }, { id: "a", ...values }),
      OptionError,
    ).message;
  assertEquals(complaint({ packed: "on" }), "-x: 'packed=on' is not available: leave it off");
  assertEquals(complaint({ numa: "1" }), "-x: 'numa=1' is not available: use numactl");
});

Deno.test("names that objects inherit are not properties", () => {
  for (const name of ["constructor", "__proto__", "toString"]) {
    const values = Object.fromEntries([["id", "a"], [name, "x"]]);
    assertThrows(
      () => readProperties(table, { dialect: "keyval", where: "" }, values),
      OptionError,
      `Parameter '${name}' is unexpected`,
    );
  }
});

Deno.test("help lists the properties that may be given, with types and defaults", () => {
  assertEquals(
    describeProperties({
      size: table.size,
      policy: table.policy,
      share: table.share,
      numa: table.numa,
    }),
    "  policy=<default|bind>\n" +
      "  share=<bool>           - Shared (default: off)\n" +
      "  size=<size>            - Bytes (default: 4096)",
  );
});
