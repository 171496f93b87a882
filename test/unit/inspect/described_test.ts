/** Streams of machines and devices that molt does not have, read by the description at their end. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { q35Fixture, q35StreamNames } from "../../golden/fixtures.ts";
import { checkAccounted, Files, type InspectedStream, run } from "./inspected.ts";

for (const name of q35StreamNames()) {
  Deno.test(`${name}: a q35 is read to its last byte`, async () => {
    using files = new Files();
    const { status, out, complaints } = await run("--json", await files.q35(name));
    assertEquals([status, complaints], [0, ""]);
    const report: InspectedStream = JSON.parse(out);
    checkAccounted(report, 0);
    assertEquals(report["trailing-bytes"], 0);
    const readBy = (name: string) =>
      report.devices.find((device) => device.name === name)?.["read-by"];
    assertEquals(readBy("hpet"), "description");
    assertEquals(readBy("cpu"), "declaration");
    assert(report.devices.every((device) => device["read-by"] !== "bytes"));
  });
}

Deno.test("devices that molt does not have show the names that QEMU gives their fields", async () => {
  using files = new Files();
  const { out } = await run(await files.q35("bare.mig"));
  assertStringIncludes(out, "  machine type  pc-q35-11.1\n");
  assertMatch(
    out,
    /^0000:00:00\.0\/mch\/0 {2}version 1, 312 bytes at 0x\w+, as the stream describes it$/m,
  );
  assertMatch(out, /^ {2}0x\w+ +1 +num_timers_save +3$/m);
  assertMatch(out, /^ {2}0x\w+ +1 +kbd\.status +24 \(0x18\)$/m);
  assertMatch(out, /^ {2}0x\w+ +8 +env\.regs\[0\] \(rax\) +\d/m);
});

Deno.test("what two boards differ in is named by the description's fields", async () => {
  using files = new Files();
  const paths = [await files.q35("bare.mig"), await files.q35("bare-board-programmed.mig")];
  const { status, out } = await run(...paths);
  assertEquals(status, 1);
  assertMatch(out, /0000:00:1f\.0\/ICH9LPC/);
  assertMatch(out, /config/);
});

/** Where the description begins: its byte, its length, its text. */
function descriptionOf(bytes: Uint8Array): number {
  const text = new TextDecoder("latin1").decode(bytes);
  const at = Math.max(text.lastIndexOf('{"configuration"'), text.lastIndexOf('{"page_size"'));
  assert(at > 0);
  return at - 5;
}

/** The stream with the text of its description changed. */
function withDescription(
  bytes: Uint8Array<ArrayBuffer>,
  change: (text: string) => string,
): Uint8Array<ArrayBuffer> {
  const at = descriptionOf(bytes);
  const text = new TextEncoder().encode(
    change(new TextDecoder("latin1").decode(bytes.subarray(at + 5))),
  );
  const changed = new Uint8Array(at + 5 + text.length);
  changed.set(bytes.subarray(0, at + 1));
  new DataView(changed.buffer).setUint32(at + 1, text.length);
  changed.set(text, at + 5);
  return changed;
}

Deno.test("without a description a section is shown as bytes, up to the next one", async () => {
  using files = new Files();
  const bytes = await q35Fixture("qtest-blk-net-msix.mig");
  const path = files.write("plain", bytes.slice(0, descriptionOf(bytes)));
  const { status, out } = await run("--json", path);
  assertEquals(status, 0);
  const report: InspectedStream = JSON.parse(out);
  checkAccounted(report, 0);
  const mch = report.devices.find(({ name }) => name === "0000:00:00.0/mch");
  assertEquals(mch?.["read-by"], "bytes");
  assertEquals(mch?.fields.map(({ size }) => size), [277]);
});

Deno.test("a description that does not fit what it describes: the section and the place are named", async () => {
  using files = new Files();
  const bytes = await q35Fixture("bare.mig");
  const hpet = (field: string) => (text: string) => {
    const changed = text.replace(
      /("name": "hpet", "instance_id": 0, .*?"fields": \[)/,
      (start) => `${start}${field}, `,
    );
    assert(changed !== text);
    return changed;
  };
  const cases: readonly (readonly [string, (text: string) => string, RegExp])[] = [
    ["a byte more", hpet('{"name": "x", "type": "uint8", "size": 1}'), /hpet.*offset 0x/],
    [
      "an array without end",
      hpet('{"name": "x", "array_len": 4000000000, "type": "uint8", "size": 1}'),
      /hpet|too early|more than/,
    ],
    [
      "elements of no size",
      hpet('{"name": "x", "array_len": 9007199254740991, "type": "uint8", "size": 0}'),
      /^$/,
    ],
    [
      "members that take less than their structure",
      hpet(
        '{"name": "x", "type": "struct", "struct": {"vmsd_name": "y", "version": 1, "fields": []}, "size": 2}',
      ),
      /hpet.*described as 2 bytes/,
    ],
    ["no JSON", (text) => text.replace("{", "["), /cannot be found|hpet|^$/],
    [
      "structures without end",
      (text) =>
        text.replace('"devices": [', `"devices": ${"[".repeat(5000)}${"]".repeat(5000)}, "x": [`),
      /.*/,
    ],
    ["numbers below zero", (text) => text.replaceAll(/"size": \d+/g, '"size": -1'), /.*/],
  ];
  for (const [what, change, complaint] of cases) {
    const { status, out, complaints } = await run(
      files.write("bad", withDescription(bytes, change)),
    );
    assertMatch(complaints.replace(/^molt inspect: \S+: /, ""), complaint, what);
    assertEquals(status, complaints === "" ? 0 : 1, what);
    assertStringIncludes(out, "pc-q35-11.1");
  }
});
