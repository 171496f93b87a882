import { assertEquals, assertThrows } from "@std/assert";
import {
  array,
  bool,
  bytes,
  conditional,
  countedArray,
  list,
  nested,
  OutOfDataError,
  padding,
  type StateDescription,
  type StateOf,
  StateReader,
  StateWriter,
  struct,
  subsection,
  text,
  timer,
  u16,
  u32,
  u64,
  u8,
  VmStateError,
  widened,
  zeroPaddedArray,
} from "../../../src/vmstate/vmstate.ts";

function encode<State>(description: StateDescription<State>, state: State): number[] {
  const writer = new StateWriter(1);
  description.encode(writer, state);
  return Array.from(writer.bytes);
}

function decode<State>(
  description: StateDescription<State>,
  data: number[],
  version = description.version,
): State {
  const reader = new StateReader(Uint8Array.from(data), { final: true });
  const state = description.decode(reader, version);
  assertEquals(reader.remaining, 0);
  return state;
}

const lamp = struct({
  name: "lamp",
  version: 3,
  minimumVersion: 1,
  fields: {
    lit: bool(),
    brightLevel: u16({ since: 2 }),
    unused: padding(2),
    hours: u64({ name: "lamp.hours" }),
    switchOff: timer(),
  },
  subsections: {
    colour: subsection({ name: "lamp/colour", version: 1, fields: { red: u8(), green: u8() } }),
    flicker: subsection({
      name: "lamp/flicker",
      version: 1,
      key: "flicker",
      field: u8(),
      absent: 7,
    }),
  },
});
type LampState = StateOf<typeof lamp>;

const plainLamp: LampState = {
  lit: true,
  brightLevel: 0x102,
  hours: 3n,
  switchOff: undefined,
  flicker: 7,
};
const plainBytes = [1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 255, 255, 255, 255, 255, 255, 255, 255];

Deno.test("fields are written in the order of the declaration, big-endian, padding as zeros", () => {
  assertEquals(encode(lamp, plainLamp), plainBytes);
  assertEquals(decode(lamp, plainBytes), plainLamp);
});

Deno.test("padding is not looked at when read", () => {
  const data = plainBytes.slice();
  data[3] = 99;
  assertEquals(decode(lamp, data), plainLamp);
});

Deno.test("a field of a later version gets its default when an older version is read", () => {
  const older = plainBytes.toSpliced(1, 2);
  assertEquals(decode(lamp, older, 1), { ...plainLamp, brightLevel: 0 });
  const grown = struct({
    name: "grown",
    version: 2,
    minimumVersion: 1,
    fields: { speed: u8({ since: 2, absent: 50 }) },
  });
  assertEquals(decode(grown, [], 1), { speed: 50 });
});

Deno.test("a version that is too new or too old is refused in QEMU's words", () => {
  const refused = (version: number) =>
    assertThrows(() => decode(lamp, plainBytes, version), VmStateError).reason;
  assertEquals(refused(4), "lamp: incoming version_id 4 is too new for local version_id 3");
  assertEquals(refused(0), "lamp: incoming version_id 0 is too old for local minimum version_id 1");
});

const colourBytes = [5, 11, ...new TextEncoder().encode("lamp/colour"), 0, 0, 0, 1, 8, 9];
const flickerBytes = [5, 12, ...new TextEncoder().encode("lamp/flicker"), 0, 0, 0, 1, 6];

Deno.test("subsections are written when the state has them or they differ from their default", () => {
  const state = { ...plainLamp, colour: { red: 8, green: 9 }, flicker: 6 };
  assertEquals(encode(lamp, state), [...plainBytes, ...colourBytes, ...flickerBytes]);
  assertEquals(lamp.size(state), plainBytes.length + colourBytes.length + flickerBytes.length);
});

Deno.test("subsections are read in any order, once or twice, and absent ones have their default", () => {
  const both = { ...plainLamp, colour: { red: 8, green: 9 }, flicker: 6 };
  assertEquals(decode(lamp, [...plainBytes, ...flickerBytes, ...colourBytes]), both);
  assertEquals(decode(lamp, [...plainBytes, ...flickerBytes, ...flickerBytes]), {
    ...plainLamp,
    flicker: 6,
  });
  assertEquals(decode(lamp, plainBytes), plainLamp);
});

Deno.test("an unknown subsection is refused, and one of another structure ends the list", () => {
  const unknown = [5, 8, ...new TextEncoder().encode("lamp/xyz"), 0, 0, 0, 1];
  const error = assertThrows(() => decode(lamp, [...plainBytes, ...unknown]), VmStateError);
  assertEquals(error.reason, "VM subsection 'lamp/xyz' in 'lamp' does not exist");
  assertEquals(error.offset, plainBytes.length);

  const other = [5, 8, ...new TextEncoder().encode("tent/xyz"), 0, 0, 0, 1];
  const reader = new StateReader(Uint8Array.from([...plainBytes, ...other]));
  assertEquals(lamp.decode(reader, 3), plainLamp);
  assertEquals(reader.offset, plainBytes.length);
});

Deno.test("a subsection can depend on the structure around it", () => {
  const door = struct({
    name: "door",
    version: 1,
    fields: { locked: bool() },
    subsections: {
      code: subsection({
        name: "door/code",
        version: 1,
        key: "code",
        field: u8(),
        needed: (_code: number, door: { locked: boolean }) => door.locked,
      }),
    },
  });
  assertEquals(encode(door, { locked: false, code: 4 }), [0]);
  assertEquals(encode(door, { locked: true, code: 4 }).at(-1), 4);
  assertEquals(encode(door, { locked: true }), [1]);
});

Deno.test("hooks: one gives the state to be written, the other checks what was read", () => {
  const even = struct({
    name: "even",
    version: 1,
    fields: { value: u8() },
    preSave: (state) => ({ value: state.value * 2 }),
    postLoad(state) {
      if (state.value % 2 === 1) throw new VmStateError(`${state.value} is odd`);
      state.value /= 2;
    },
  });
  assertEquals(encode(even, { value: 4 }), [8]);
  assertEquals(decode(even, [8]), { value: 4 });
  const box = struct({ name: "box", version: 1, fields: { first: u8(), content: nested(even) } });
  const error = assertThrows(() => decode(box, [0, 9]), VmStateError);
  assertEquals(error.message, "field 'content' at offset 0x1: 9 is odd");
});

Deno.test("running out of bytes is an error of its own, which says how many are missing and where", () => {
  for (let length = 0; length < plainBytes.length; length++) {
    const reader = new StateReader(Uint8Array.from(plainBytes.slice(0, length)), { base: 4096 });
    const error = assertThrows(() => lamp.decode(reader, 3), OutOfDataError);
    assertEquals(error.missing >= 1 && error.missing <= 8, true);
  }
  const reader = new StateReader(Uint8Array.from(plainBytes.slice(0, 9)), { base: 4096 });
  const error = assertThrows(() => lamp.decode(reader, 3), OutOfDataError);
  assertEquals(error.message, "field 'lamp.hours' at offset 0x1005: data ends 4 bytes too early");
});

Deno.test("the end of a structure with subsections is known only by what follows", () => {
  const more = new StateReader(Uint8Array.from(plainBytes));
  assertThrows(() => lamp.decode(more, 3), OutOfDataError);
  const final = new StateReader(Uint8Array.from(plainBytes), { final: true });
  assertEquals(lamp.decode(final, 3), plainLamp);
});

Deno.test("values that do not fit are refused when written, by field", () => {
  const refused = (change: Partial<LampState>) =>
    assertThrows(() => encode(lamp, { ...plainLamp, ...change }), VmStateError).message;
  assertEquals(
    refused({ brightLevel: 65536 }),
    "field 'bright_level': 65536 is not a value of type uint16",
  );
  assertEquals(refused({ hours: -1n }), "field 'lamp.hours': -1 is not a value of type uint64");
  assertEquals(
    refused({ colour: { red: -1, green: 0 } }),
    "field 'lamp/colour.red': -1 is not a value of type uint8",
  );
});

Deno.test("a boolean is 0 or 1", () => {
  const error = assertThrows(() => decode(lamp, [2, ...plainBytes.slice(1)]), VmStateError);
  assertEquals(error.message, "field 'lit' at offset 0x0: 2 is not a boolean");
});

Deno.test("arrays: fixed, counted by a sibling, with a count before them, as a list, padded with zeros", () => {
  const pair = nested(struct({ name: "pair", version: 1, fields: { a: u8(), b: u16() } }));
  const arrays = struct({
    name: "arrays",
    version: 1,
    fields: {
      fixed: array(u16(), 2),
      count: u8(),
      counted: array(u8(), { key: "count", maximum: 4 }),
      others: array(u8(), { key: "count", maximum: 4, less: 1 }),
      own: countedArray(pair, 3),
      listed: list(pair, 2),
      padded: zeroPaddedArray(pair, 4),
      raw: bytes({ key: "count", maximum: 4 }),
    },
  });
  const state = {
    fixed: [1, 2],
    count: 2,
    counted: [3, 4],
    others: [5],
    own: [{ a: 6, b: 7 }],
    listed: [{ a: 8, b: 9 }],
    padded: [{ a: 0, b: 0 }, { a: 0, b: 256 }],
    raw: Uint8Array.of(10, 11),
  };
  // deno-fmt-ignore
  const data = [0, 1, 0, 2, 2, 3, 4, 5, 0, 0, 0, 1, 6, 0, 7, 1, 8, 0, 9, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 10, 11];
  assertEquals(encode(arrays, state), data);
  assertEquals(decode(arrays, data), state);
  assertEquals(arrays.size(state), data.length);

  const refused = (at: number, value: number) =>
    assertThrows(() => decode(arrays, data.with(at, value)), VmStateError).message;
  assertEquals(
    refused(4, 200),
    "field 'counted' at offset 0x5: count is 200, at most 4 is accepted",
  );
  assertEquals(
    refused(9, 255),
    "field 'own' at offset 0x8: 16711681 items, at most 3 are accepted",
  );
  assertEquals(refused(15, 3), "field 'listed' at offset 0xf: 3 where a list continues or ends");
  assertThrows(
    () => encode(arrays, { ...state, counted: [1] }),
    VmStateError,
    "1 elements where 2",
  );
  assertThrows(() => encode(arrays, { ...state, raw: new Uint8Array(9) }), VmStateError, "9 bytes");
});

Deno.test("an error in an array names the element", () => {
  const row = struct({
    name: "row",
    version: 1,
    fields: {
      cells: array(nested(struct({ name: "cell", version: 1, fields: { on: bool() } })), 3),
    },
  });
  const error = assertThrows(() => decode(row, [0, 1, 7]), VmStateError);
  assertEquals(error.message, "field 'cells[2].on' at offset 0x2: 7 is not a boolean");
  assertThrows(
    () => encode(row, { cells: [{ on: true }, { on: true }] }),
    VmStateError,
    "field 'cells': 2 elements where 3 are expected",
  );
});

Deno.test("a conditional field is there when its condition holds, in both directions", () => {
  const packet = struct({
    name: "packet",
    version: 1,
    fields: {
      kind: u8(),
      extra: conditional(u16(), (packet: { kind: number }) => packet.kind === 2),
    },
  });
  assertEquals(decode(packet, [2, 0, 5]), { kind: 2, extra: 5 });
  assertEquals(decode(packet, [1]), { kind: 1, extra: undefined });
  assertEquals(encode(packet, { kind: 1, extra: undefined }), [1]);
  assertThrows(() => encode(packet, { kind: 1, extra: 5 }), VmStateError, "field 'extra'");
  assertThrows(() => encode(packet, { kind: 2, extra: undefined }), VmStateError, "field 'extra'");
});

Deno.test("a widened field is read at its old width from an old version", () => {
  const counter = struct({
    name: "counter",
    version: 2,
    minimumVersion: 1,
    fields: { value: widened(u32(), u16(), 2) },
  });
  assertEquals(decode(counter, [1, 2], 1), { value: 0x102 });
  assertEquals(decode(counter, [0, 1, 0, 2], 2), { value: 0x10002 });
});

Deno.test("text is padded with NULs and ends at the first", () => {
  const label = struct({ name: "label", version: 1, field: text(5, { name: "label" }) });
  assertEquals(encode(label, "on"), [111, 110, 0, 0, 0]);
  assertEquals(decode(label, [111, 110, 0, 9, 9]), "on");
  assertEquals(decode(label, [97, 97, 97, 97, 97]), "aaaaa");
  assertThrows(() => encode(label, "longer"), VmStateError, "longer than 5 bytes");
});

Deno.test("the description lists what would be written, as QEMU words it", () => {
  const state = { ...plainLamp, colour: { red: 8, green: 9 } };
  assertEquals(
    lamp.describe(state),
    '"vmsd_name": "lamp", "version": 3, "fields": [' +
      '{"name": "lit", "type": "bool", "size": 1}, ' +
      '{"name": "bright_level", "type": "uint16", "size": 2}, ' +
      '{"name": "unused", "type": "unused_buffer", "size": 2}, ' +
      '{"name": "lamp.hours", "type": "uint64", "size": 8}, ' +
      '{"name": "switch_off", "type": "timer", "size": 8}], ' +
      '"subsections": [{"vmsd_name": "lamp/colour", "version": 1, "fields": [' +
      '{"name": "red", "type": "uint8", "size": 1}, {"name": "green", "type": "uint8", "size": 1}]}]',
  );
});

Deno.test("the description of an array has one entry for all, or one for each if they can differ", () => {
  const uniform = struct({ name: "cell", version: 1, fields: { value: u8() } });
  const varied = struct({
    name: "slot",
    version: 1,
    fields: { used: bool() },
    subsections: {
      extra: subsection({ name: "slot/extra", version: 1, key: "extra", field: u8(), absent: 0 }),
    },
  });
  const table = struct({
    name: "table",
    version: 1,
    fields: {
      none: array(u8(), 0),
      one: array(u8(), 1),
      cells: array(nested(uniform), 2),
      slots: array(nested(varied), 2),
    },
  });
  const described = JSON.parse(`{${
    table.describe({
      none: [],
      one: [1],
      cells: [{ value: 1 }, { value: 2 }],
      slots: [{ used: true, extra: 0 }, { used: true, extra: 1 }],
    })
  }}`);
  assertEquals(
    described.fields.map((field: Record<string, unknown>) => [
      field.name,
      field.array_len,
      field.index,
      field.size,
    ]),
    [
      ["one", undefined, undefined, 1],
      ["cells", 2, undefined, 1],
      ["slots", undefined, 0, 1],
      ["slots", undefined, 1, 18],
    ],
  );
});

Deno.test("a trace has each field's path, place, type and value", () => {
  const reader = new StateReader(Uint8Array.from([...plainBytes, ...colourBytes]), {
    base: 100,
    final: true,
  });
  reader.trace = [];
  lamp.decode(reader, 3);
  assertEquals(reader.trace.map(({ path, offset, size }) => [path, offset, size]), [
    ["lit", 100, 1],
    ["bright_level", 101, 2],
    ["unused", 103, 2],
    ["lamp.hours", 105, 8],
    ["switch_off", 113, 8],
    ["lamp/colour.red", 138, 1],
    ["lamp/colour.green", 139, 1],
  ]);
  assertEquals(reader.trace[3]?.value, 3n);
});

Deno.test("a zero state has every field and no optional subsection", () => {
  assertEquals(lamp.zero(), {
    lit: false,
    brightLevel: 0,
    hours: 0n,
    switchOff: undefined,
    flicker: 7,
  });
});
