import { assertEquals } from "@std/assert";
import { HeartbeatCheck, parseBeat } from "../../guests/heartbeat.ts";

const ready = "heartbeat cpus=2 memory=64 rate=0 period=100 tsc_khz=2596098 kvmclock=1\n";

function line(number: number, more: Record<string, string> = {}): string {
  const fields = {
    tsc: (0x1000 + number).toString(16).padStart(16, "0"),
    clock: String(50_000_000 * number),
    gap: "1201,94002",
    passes: "6,9",
    pages: String(500 * number),
    errors: "0",
    ...more,
  };
  const text = Object.entries(fields).map(([name, value]) => `${name}=${value}`).join(" ");
  return `beat ${String(number).padStart(6, "0")} ${text}\n`;
}

Deno.test("a beat's line gives its number, clocks, gaps and counts", () => {
  assertEquals(parseBeat(line(3).trimEnd()), {
    number: 3,
    tsc: 0x1003n,
    clock: 150_000_000n,
    gaps: [1201, 94002],
    passes: [6, 9],
    pages: 1500,
    errors: 0,
  });
  assertEquals(parseBeat(line(1, { clock: "none" }).trimEnd())?.clock, undefined);
  assertEquals(parseBeat("beat 000001 tsc=12"), undefined);
});

Deno.test("an unbroken life has no problems, however its output is cut", () => {
  const output = ready + line(1) + line(2) + "echo hello\nstatus beats=2\n" + line(3);
  for (const size of [1, 7, 1000]) {
    const check = new HeartbeatCheck();
    for (let at = 0; at < output.length; at += size) check.feed(output.slice(at, at + size));
    assertEquals(check.problems, []);
    assertEquals(check.beats, 3);
    assertEquals(check.last?.number, 3);
  }
});

Deno.test("a beat that is missing, twice or damaged is a problem", () => {
  const problems = (output: string) => {
    const check = new HeartbeatCheck();
    check.feed(output);
    return check.problems;
  };
  assertEquals(problems(line(1) + line(3)), ["beat 3: follows beat 1"]);
  assertEquals(problems(line(1) + line(1)).includes("beat 1: follows beat 1"), true);
  assertEquals(problems(line(1) + line(2).slice(10)).length, 1);
  assertEquals(problems(line(1) + "MEMORY ERROR cpu=0\n"), [
    `unexpected output: "MEMORY ERROR cpu=0"`,
  ]);
});

Deno.test("clocks that go backwards and errors of the guest are problems", () => {
  const problems = (more: Record<string, string>) => {
    const check = new HeartbeatCheck();
    check.feed(line(1) + line(2, more));
    return check.problems;
  };
  assertEquals(problems({ tsc: "0000000000000005" }), ["beat 2: TSC went from 4097 to 5"]);
  assertEquals(problems({ clock: "7" }), ["beat 2: kvmclock went from 50000000 to 7"]);
  assertEquals(problems({ pages: "1" }), ["beat 2: pages went from 500 to 1"]);
  assertEquals(problems({ errors: "1" }), [
    "beat 2: the guest found 1 errors in its memory or clocks",
  ]);
});
