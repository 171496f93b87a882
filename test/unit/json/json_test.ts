import { assert, assertEquals } from "@std/assert";
import { JsonStreamParser } from "../../../src/json/parser.ts";
import type { JsonValue } from "../../../src/json/value.ts";
import { writeJson } from "../../../src/json/writer.ts";

const encoder = new TextEncoder();

function toBytes(input: string | Uint8Array): Uint8Array {
  return typeof input === "string" ? encoder.encode(input) : input;
}

/** What the parser reports of `input`: values as JSON, errors as their messages after `! `. */
function parse(...packets: (string | Uint8Array)[]): string[] {
  const results: string[] = [];
  const parser = new JsonStreamParser((result) =>
    results.push(
      result.kind === "value" ? writeJson(result.value) : `! ${result.error.message}`,
    )
  );
  for (const packet of packets) parser.feed(toBytes(packet));
  return results;
}

Deno.test("values come one after the other, however they are separated", () => {
  assertEquals(parse('{"a": 1}{"b":[]}\n\n [] "x" true null 12 '), [
    '{"a": 1}',
    '{"b": []}',
    "[]",
    '"x"',
    "true",
    "null",
    "12",
  ]);
});

Deno.test("values are the same however the stream is cut into packets", () => {
  const input = '{"execute": "x", "arguments": {"n": [1, -2.5e3, true, null, "é\\u00e9\\n"]}}';
  const whole = parse(input);
  const bytes = encoder.encode(input);
  assertEquals(parse(...Array.from(bytes, (byte) => Uint8Array.of(byte))), whole);
  for (let cut = 1; cut < bytes.length; cut++) {
    assertEquals(parse(bytes.subarray(0, cut), bytes.subarray(cut)), whole);
  }
});

Deno.test("integers are exact up to 64 bits, wider ones become floating-point", () => {
  const values: JsonValue[] = [];
  const parser = new JsonStreamParser((result) => {
    if (result.kind === "value") values.push(result.value);
  });
  parser.feed(encoder.encode(
    "9007199254740991 9007199254740993 18446744073709551615 18446744073709551616 " +
      "-9223372036854775808 -9223372036854775809 -0 1.5 ",
  ));
  assertEquals(values, [
    9007199254740991,
    9007199254740993n,
    18446744073709551615n,
    18446744073709551616,
    -9223372036854775808n,
    -9223372036854775808,
    0,
    1.5,
  ]);
});

Deno.test("no key means anything but itself", () => {
  assertEquals(parse('{"__proto__": {"x": 1}, "constructor": 2}'), [
    '{"__proto__": {"x": 1}, "constructor": 2}',
  ]);
});

/** Input and what QEMU 11.1.3 says of it, on the first line of a connection. */
const errors: [string | Uint8Array, string[]][] = [
  ["}", ["! 1:1: JSON parse error, expecting value"]],
  ["{]", ["! 1:2: JSON parse error, expecting key"]],
  ["[}", ["! 1:2: JSON parse error, expecting value"]],
  ["{1:2}", ["! 1:2: JSON parse error, expecting key"]],
  ['{"a"}', ["! 1:5: JSON parse error, expecting ':'"]],
  ['{"a":}', ["! 1:6: JSON parse error, expecting value"]],
  ['{"a":1,}', ["! 1:8: JSON parse error, expecting key"]],
  ["[1,]", ["! 1:4: JSON parse error, expecting value"]],
  ["[1 2]{}", ["! 1:4: JSON parse error, expected ',' or ']'", "{}"]],
  ['{"a":1]', ["! 1:8: JSON parse error, expected ',' or '}'"]],
  ['{"a":1,"a":2}', ["! 1:12: JSON parse error, duplicate key"]],
  ["nul ", ["! 1:1: JSON parse error, invalid keyword 'nul'"]],
  ["[nul,nul]{}", ["! 1:2: JSON parse error, invalid keyword 'nul'", "{}"]],
  ["%s", ["! 1:1: JSON parse error, stray '%'"]],
  ["[-]", ["! 1:2: JSON parse error, stray '-]'"]],
  ['{"a":01}', [
    "! 1:6: JSON parse error, stray '01'",
    "! 1:9: JSON parse error, expecting value",
  ]],
  ["%}}", [
    "! 1:1: JSON parse error, stray '%'",
    "! 1:3: JSON parse error, expecting value",
    "! 1:3: JSON parse error, expecting value",
  ]],
  ["01\t02{}", ["! 1:1: JSON parse error, stray '01'", "{}"]],
  ['"abc\n{}', ["! 1:1: JSON parse error, stray '\"abc\n'", "{}"]],
  ['\n\n  "\\x"', ["! 3:3: JSON parse error, invalid escape sequence in string"]],
  ['"\\u12xyz"', ["! 1:1: JSON parse error, \\u12xy is not a valid Unicode character"]],
  ['"\\ud800x"', ["! 1:1: JSON parse error, \\ud800 is not a valid Unicode character"]],
  ['"\\uD83F\\uDFFF"', [
    "! 1:1: JSON parse error, \\uD83F\\uDFFF is not a valid Unicode character",
  ]],
  [Uint8Array.of(0xff, 0x7b, 0x7d), ["! 1:1: JSON parse error, stray '\ufffd'", "{}"]],
  [Uint8Array.of(0x22, 0xe2, 0x82, 0x22), [
    "! 1:1: JSON parse error, invalid UTF-8 sequence in string",
  ]],
  [Uint8Array.of(0x22, 0xc0, 0x80, 0x22), ['"\\u0000"']],
  [Uint8Array.of(0), ["! 1:1: JSON parse error, stray ''"]],
  ['{"a":[}}{"b":1}', ["! 1:7: JSON parse error, expecting value", '{"b": 1}']],
];

Deno.test("errors are QEMU's, and the stream goes on after them where QEMU's does", () => {
  for (const [input, expected] of errors) assertEquals(parse(input), expected, String(input));
});

Deno.test("depth, size and number of tokens are limited, and the stream goes on", () => {
  const deep = "[".repeat(1024) + "]".repeat(1024);
  assertEquals(parse(deep), [deep]);
  const tooDeep = "[".repeat(1025) + "]".repeat(1025);
  assertEquals(parse(tooDeep, "{}"), ["! JSON nesting depth limit exceeded", "{}"]);
  const tooMany = `[${"1,".repeat(1 << 20)}1]`;
  assertEquals(parse(tooMany, "{}"), ["! JSON token count limit exceeded", "{}"]);
  const megabyte = new Uint8Array(1 << 20).fill(0x61);
  const tooLong = [Uint8Array.of(0x22), ...Array(65).fill(megabyte), Uint8Array.of(0x22)];
  const results = parse(...tooLong, '"{}');
  assertEquals(results[0], "! JSON token size limit exceeded");
});

Deno.test("a number of any length is read in time that grows as its length", () => {
  const digits = "9".repeat(16 << 20);
  const start = performance.now();
  const results = parse(`[${digits},-${digits},0.${digits},1${"0".repeat(25)}]`, "{}");
  assertEquals(results, ["[inf, -inf, 1, 1.0000000000000001e+25]", "{}"]);
  // With a bigint of all digits it took a minute.
  assert(performance.now() - start < 20_000);
});

Deno.test("a long string with escapes is read and written in such a time too", () => {
  const text = '"' + '\\n\\u00e9\\"'.repeat(1 << 20) + '"';
  const start = performance.now();
  assertEquals(parse(text)[0]?.length, text.length);
  assert(performance.now() - start < 20_000);
});

Deno.test("text is written in ASCII with QEMU's escapes, numbers as printf's %.17g", () => {
  const cases: [JsonValue, string][] = [
    [
      '"\\/\b\f\n\r\t\u0001\u007fé\u{1f600}',
      '"\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u007F\\u00E9\\uD83D\\uDE00"',
    ],
    [0.1, "0.10000000000000001"],
    [1e20, "1e+20"],
    [1e-7, "9.9999999999999995e-08"],
    [123456789.125, "123456789.125"],
    [18446744073709551616, "1.8446744073709552e+19"],
    [18446744073709551615n, "18446744073709551615"],
    [-0, "-0"],
    [1000, "1000"],
    [{ a: undefined, b: [] }, '{"b": []}'],
  ];
  for (const [value, text] of cases) assertEquals(writeJson(value), text);
  assertEquals(
    writeJson({ a: [1, { b: 2 }], c: {} }, true),
    '{\n    "a": [\n        1,\n        {\n            "b": 2\n        }\n    ],\n    "c": {}\n}',
  );
});

Deno.test("random input never breaks the parser, which reads the next good value", () => {
  const seed = Number(Deno.env.get("SEED") ?? Date.now() & 0xffff);
  let state = seed;
  const random = (limit: number) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >>> 8) % limit;
  };
  const pieces = ["{", "}", "[", "]", ",", ":", '"', "'", "\\", "1", "-", "e", "nul", " ", "\x01"];
  for (let round = 0; round < 2000; round++) {
    const length = 1 + random(12);
    let input = "";
    for (let i = 0; i < length; i++) input += pieces[random(pieces.length)];
    // What ends every string and bracket, whatever came before: a lexical error.
    const results = parse(input, "\x01\x01", Uint8Array.of(0xff), '{"good": 1}');
    assertEquals(results.at(-1), '{"good": 1}', `seed ${seed}, input ${JSON.stringify(input)}`);
  }
});
