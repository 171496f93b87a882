import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fixture, streamNames, streamOffset } from "../../golden/fixtures.ts";
import { checkAccounted, Files, run } from "./inspected.ts";

Deno.test("a snapshot is shown with blocks, sections and every field by name", async () => {
  using files = new Files();
  const { status, out, complaints } = await run(await files.golden("mapped-ram.mig"));
  assertEquals([status, complaints], [0, ""]);
  assertStringIncludes(out, ": snapshot (mapped-ram), 10.2 MiB");
  assertStringIncludes(out, "  machine type  microvm\n  capabilities  mapped-ram\n");
  assertMatch(out, /^ {2}microvm\.ram +8 MiB +2048 +33 +2015 +0 +0x8c +0x100000$/m);
  assertMatch(out, /^ {2}0xa1018e +2119 +FULL +cpu\/0 +12 +5$/m);
  assertMatch(out, /^cpu\/0 {2}version 12, 2119 bytes at 0xa1018e$/m);
  assertMatch(out, /^ {2}0xa1019f +8 +env\.regs\[0\] \(rax\) +\d/m);
  assertMatch(out, /^ {2}0xa1021f +8 +env\.eip \(rip\) +2100910 \(0x200eae\)$/m);
  assertMatch(
    out,
    /^ {2}0xa103cf +256 +env\.xmm_regs\[0\]\[0\.\.15\]\._q_ZMMReg\[0\.\.1\] +32 × 0$/m,
  );
});

Deno.test("--summary leaves out the fields, --checksum adds what the blocks hold", async () => {
  using files = new Files();
  const { out } = await run("--summary", "--checksum", await files.golden("mapped-ram.mig"));
  assert(!out.includes("env.eip"));
  // RAM and firmware as the monitor's pmemsave dumped them: the firmware hides the memory under it.
  const dump = await fixture("mapped-ram.ram");
  const firmware = dump.slice(0xf0000, 0x100000);
  dump.fill(0, 0xf0000, 0x100000);
  for (const content of [firmware, dump]) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    assertStringIncludes(out, hex);
  }
});

for (const name of streamNames()) {
  Deno.test(`${name}: everything up to the last byte is accounted for`, async () => {
    using files = new Files();
    const offset = streamOffset(name);
    const path = await files.golden(name);
    const { status, out } = await run("--json", "--offset", String(offset), path);
    assertEquals(status, 0);
    checkAccounted(JSON.parse(out), offset);
  });
}

Deno.test("the same memory has the same checksum in a stream, a snapshot and a delta-encoded stream", async () => {
  using files = new Files();
  const { out } = await run("--json", "--checksum", await files.golden("xbzrle.mig"));
  const block = JSON.parse(out).blocks.find(({ name }: { name: string }) => name === "microvm.ram");
  const dump = await fixture("xbzrle.ram");
  dump.fill(0, 0xf0000, 0x100000);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", dump));
  assertEquals(block.sha256, Array.from(digest, (b) => b.toString(16).padStart(2, "0")).join(""));
});

Deno.test("CPR state is shown as descriptors by name, from a memfd and from a socket", async () => {
  using files = new Files();
  const exec = await run(await files.golden("cpr-exec.memfd"));
  assertStringIncludes(exec.out, "CPR state of cpr-exec, 177 bytes");
  assertMatch(exec.out, /^ {4}0x82 +ram0 +0 +12$/m);
  const transfer = await run(await files.golden("cpr-transfer.cpr"));
  assertMatch(transfer.out, /^ {4}0x76 +ram0 +0 +sent beside$/m);
  assertEquals([exec.status, transfer.status], [0, 0]);
});

Deno.test("a file cut off anywhere is shown as far as it goes, then the error and its place", async () => {
  using files = new Files();
  const whole = await fixture("mapped-ram.mig");
  const wholeReport = JSON.parse((await run("--json", files.write("whole", whole))).out);
  const sections: { offset: number; size: number; name: string }[] = wholeReport.sections;
  const last = sections.at(-1)!.offset;
  const cuts = [
    3,
    30,
    100,
    300,
    0x200000,
    0xa10000,
    ...sections.slice(3).map(({ offset }) => offset + 2),
  ];
  for (const cut of cuts.filter((cut) => cut < last)) {
    const path = files.write("cut", whole.subarray(0, cut));
    const { status, out, complaints } = await run("--json", path);
    assertEquals(status, 1, `cut at ${cut}`);
    assertMatch(complaints, /offset 0x[0-9a-f]+/);
    const report = JSON.parse(out);
    // A bitmap and pages that are cut off are missed where the list goes on behind them.
    assert(report.error.offset <= cut + 0x900000, complaints);
    // The header is shown together with the configuration.
    const complete = sections.filter(({ offset, size }) => cut >= 0x43 && offset + size <= cut);
    assertEquals(report.sections.slice(0, complete.length), complete);
  }
});

Deno.test("altered bytes never crash it: they are errors with a place, or change a value", async () => {
  using files = new Files();
  const whole = await fixture("serial-fifo.mig");
  let state = 4711;
  for (let round = 0; round < 300; round++) {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    const bytes = whole.slice();
    const at = state % bytes.length;
    bytes[at]! ^= 1 << (round & 7);
    const { status, complaints } = await run("--json", "--checksum", files.write("bad", bytes));
    if (status === 0) continue;
    assertEquals(status, 1, `byte ${at}`);
    assertMatch(complaints, /bad: .*offset 0x/, `byte ${at}: ${complaints}`);
  }
});

Deno.test("a bitmap or page that is not in the file is an error that names block and offset", async () => {
  using files = new Files();
  const bytes = await fixture("mapped-ram.mig");
  const complaintAfter = async (change: (view: DataView<ArrayBuffer>) => void) => {
    const changed = bytes.slice();
    change(new DataView(changed.buffer));
    const { status, complaints } = await run("--summary", files.write("bad", changed));
    assertEquals(status, 1);
    return complaints.replace(/.*bad: /, "");
  };
  // The second block's header, before its bitmap: bitmap offset and pages offset are its end.
  const header = 0x90002c - 28;
  const far = BigInt(bytes.length);
  assertEquals(
    await complaintAfter((view) => view.setBigUint64(header + 20, far & ~0xfffn)),
    "at offset 0xa3f000: page 0 of block 'pc.bios' is not in the file",
  );
  assertEquals(
    await complaintAfter((view) => {
      view.setBigUint64(header + 12, far);
      view.setBigUint64(header + 20, 1n << 40n);
    }),
    "at offset 0xa3fb69: the bitmap of block 'pc.bios' is not all in the file",
  );
});

Deno.test("two files: fields by name with both values, sections of one only, pages by ranges", async () => {
  using files = new Files();
  const a = await fixture("mapped-ram.mig");
  const b = a.slice();
  b[0x100000 + 0x2d0 * 4096 + 5]! ^= 0xff; // behind a clear bit: says nothing
  b[0xa00000 + 17]! ^= 0xff; // first page of the firmware
  b[0xa10bae + 25]! ^= 0x01; // a register of the serial port
  const [pathA, pathB] = [files.write("a", a), files.write("b", b)];
  const same = await run(pathA, pathA);
  assertEquals([same.status, same.out], [0, `${pathA} and ${pathA}: no difference`]);

  const { status, out } = await run(pathA, pathB);
  assertEquals(status, 1);
  assertMatch(
    out,
    /^serial\/0\n {2}field +a +b\n {2}state\.\w+ +\S.* +\S.*\n\nblock pc\.bios: 1 page/m,
  );
  assertMatch(out, /^ +0x0 +0x1000 +1$/m);
  assert(!out.includes("block microvm.ram"));

  const other = await run("--json", pathA, await files.golden("microvm-min.mig"));
  const comparison = JSON.parse(other.out);
  assertEquals(comparison["only-in-a"].length, 4);
  assertEquals(comparison["only-in-b"], []);
  const cpu = comparison.devices.find(({ section }: { section: string }) => section === "cpu/0");
  assert(cpu.fields.some(({ name }: { name: string }) => name === "env.regs[0]"));
});

Deno.test("the page shows every block as a picture, needs nothing else, and keeps names harmless", async () => {
  using files = new Files();
  const bytes = await fixture("mapped-ram.mig");
  // A machine type made of HTML.
  bytes.set(new TextEncoder().encode("<b>&'\"x"), 13);
  const page = `${files.folder}/report.html`;
  const { status, out } = await run("--html", page, files.write("snapshot", bytes));
  assertEquals([status, out], [0, ""]);
  const html = await Deno.readTextFile(page);
  assertStringIncludes(html, "machine type &#60;b&#62;&#38;&#39;&#34;x");
  assert(!/(src|href)=|url\(|@import|https?:/.test(html), "external assets");
  const data = /<script type="application\/json" id="pictures">(.*?)<\/script>/s.exec(html)?.[1];
  const pictures: { pages: number; runs: [number, number, number][] }[] = JSON.parse(data ?? "");
  assertEquals(pictures.map(({ pages }) => pages), [2048, 16]);
  const stored = pictures.map(({ runs }) =>
    runs.reduce((sum, [count, stored]) => sum + count * stored, 0)
  );
  assertEquals(stored, [33, 3]);
  assertEquals(html.match(/<canvas /g)?.length, 2);
  assertEquals(html.match(/<details>/g)?.length, 14);
});

Deno.test("what two files differ in can be a page, too", async () => {
  using files = new Files();
  const [a, b] = [await files.golden("mapped-ram.mig"), await files.golden("microvm-min.mig")];
  const page = `${files.folder}/difference.html`;
  const { status, out } = await run("--html", page, a, b);
  assertEquals([status, out], [1, ""]);
  const html = await Deno.readTextFile(page);
  for (const part of ["Only in a", "<h2>Devices</h2>", "env.regs[0] (rax)", "cpu/0"]) {
    assertStringIncludes(html, part);
  }
  const fields = JSON.parse((await run("--json", a, b)).out).devices
    .flatMap(({ fields }: { fields: unknown[] }) => fields);
  const [, devices = ""] = /<h2>Devices<\/h2>(.*?)<h2>Memory/s.exec(html) ?? [];
  assertEquals(devices.match(/<tr><td/g)?.length, fields.length);
  await run("--html", page, a, a);
  assertStringIncludes(await Deno.readTextFile(page), "No difference.");
});

Deno.test("wrong usage says what is wrong, and what cannot be read says why", async () => {
  using files = new Files();
  const path = await files.golden("microvm-min.mig");
  const statuses: [string[], number, RegExp][] = [
    [[], 2, /no file is named/],
    [["--bogus", path], 2, /unknown option '--bogus'/],
    [[path, path, path], 2, /3 files are named/],
    [["--offset", "1x", path], 2, /--offset '1x' is not a size/],
    [["/nonexistent"], 1, /Could not open '\/nonexistent': No such file or directory/],
    [[files.folder], 1, /Is a directory/],
    [["/dev/null"], 1, /Illegal seek/],
    [[files.write("empty", new Uint8Array())], 1, /neither .* nor CPR state: it is empty$/],
    [
      [files.write("text", new TextEncoder().encode("# molt\n"))],
      1,
      /'[^']*text' is neither a migration stream nor CPR state: it begins with 23206d6f, not with 5145564d$/,
    ],
    [[files.write("gzip", Uint8Array.of(0x1f, 0x8b, 8, 0))], 1, /it is compressed by gzip$/],
    [["--offset", "1", path], 1, /what is at offset 0x1 begins with 45564d00/],
    [[await files.golden("tcp-multifd.ch1")], 1, /multifd channel/],
  ];
  for (const [argv, status, complaint] of statuses) {
    const result = await run(...argv);
    assertEquals(result.status, status, argv.join(" "));
    assertMatch(result.complaints, complaint);
  }
  const { status, out } = await run("--help");
  assertEquals(status, 0);
  assertStringIncludes(out, "usage: molt inspect [options] FILE");
});
