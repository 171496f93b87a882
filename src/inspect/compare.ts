/** What two files differ in: configuration, sections, fields by name, pages by content. */
import { PAGE_SIZE } from "../memory/ram_block.ts";
import type { BlockPages, ReadFully } from "./block_pages.ts";
import type { BlockReport, DeviceReport, OpenReport, Report, StreamReport } from "./report.ts";
import { jsonText } from "./json.ts";

/** A name with two values, `undefined` where a file has none. */
export interface ValueDifference {
  readonly name: string;
  readonly a: unknown;
  readonly b: unknown;
}

/** A device that both files have, in different states. */
export interface DeviceDifference {
  /** `serial/0`. */
  readonly section: string;
  readonly fields: readonly ValueDifference[];
}

/** Consecutive pages whose content differs. */
export interface PageRange {
  readonly first: number;
  readonly count: number;
}

/** A block that both files have, with different content. */
export interface BlockDifference {
  readonly block: string;
  readonly lengths: { readonly a: number; readonly b: number };
  /** Of the pages that both have. */
  readonly ranges: readonly PageRange[];
}

/** Everything that differs. Empty lists: nothing does. */
export interface Comparison {
  readonly a: string;
  readonly b: string;
  readonly configuration: readonly ValueDifference[];
  /** Sections and blocks that only one file has. */
  readonly onlyInA: readonly string[];
  readonly onlyInB: readonly string[];
  readonly devices: readonly DeviceDifference[];
  readonly blocks: readonly BlockDifference[];
}

/** True if nothing differs. */
export function isSame({ configuration, onlyInA, onlyInB, devices, blocks }: Comparison): boolean {
  return [configuration, onlyInA, onlyInB, devices, blocks].every((list) => list.length === 0);
}

/** Compares what was found in two files. Pages are read from both. */
export function compare(a: OpenReport, b: OpenReport): Comparison {
  const [left, right] = [partsOf(a.report), partsOf(b.report)];
  const devices = pair(left.devices, right.devices, sectionName);
  const blocks = pair(left.blocks, right.blocks, ({ name }) => name);
  const blockName = ({ name }: BlockReport) => `block ${name}`;
  return {
    a: a.report.file,
    b: b.report.file,
    configuration: differing(left.configuration, right.configuration),
    onlyInA: [...devices.onlyInA.map(sectionName), ...blocks.onlyInA.map(blockName)],
    onlyInB: [...devices.onlyInB.map(sectionName), ...blocks.onlyInB.map(blockName)],
    devices: devices.both.map(([x, y]) => ({
      section: sectionName(x),
      fields: differing(fieldsOf(x), fieldsOf(y)),
    })).filter(({ fields }) => fields.length > 0),
    blocks: blocks.both.map(([x, y]) => ({
      block: x.name,
      lengths: { a: x.length, b: y.length },
      ranges: differingPages(x.pages, a.readFully, y.pages, b.readFully),
    })).filter(({ lengths, ranges }) => lengths.a !== lengths.b || ranges.length > 0),
  };
}

interface Parts {
  readonly configuration: ReadonlyMap<string, unknown>;
  readonly devices: readonly DeviceReport[];
  readonly blocks: readonly BlockReport[];
}

function partsOf(report: Report): Parts {
  if (report.kind === "stream") return streamParts(report);
  // Descriptor numbers mean nothing outside their process: names are what can be compared.
  const configuration = new Map<string, unknown>([["format", `CPR state of ${report.mode}`]]);
  for (const { name, id } of report.descriptors) configuration.set(`descriptor ${name}/${id}`, "");
  return { configuration, devices: [], blocks: [] };
}

function streamParts({ machineType, capabilities, uuid, devices, blocks }: StreamReport): Parts {
  const configuration = new Map<string, unknown>([
    ["format", "migration stream"],
    ["machine type", machineType],
    ["capabilities", capabilities.join(", ")],
    ["uuid", uuid],
  ]);
  return { configuration, devices, blocks };
}

function sectionName({ name, instanceId }: DeviceReport): string {
  return `${name}/${instanceId}`;
}

function fieldsOf({ version, fields }: DeviceReport): ReadonlyMap<string, unknown> {
  return new Map<string, unknown>([
    ["version", version],
    ...fields.map(({ path, value }) => [path, value] as const),
  ]);
}

/** Names whose values differ, those of `a` first. */
function differing(
  a: ReadonlyMap<string, unknown>,
  b: ReadonlyMap<string, unknown>,
): ValueDifference[] {
  return [...new Set([...a.keys(), ...b.keys()])]
    .flatMap((name) => byElement({ name, a: a.get(name), b: b.get(name) }))
    .filter((pair) => jsonText(pair.a) !== jsonText(pair.b));
}

/** Lists of the same length differ in elements. */
function byElement({ name, a, b }: ValueDifference): ValueDifference[] {
  if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return [{ name, a, b }];
  return a.map((element, i) => ({ name: `${name}[${i}]`, a: element, b: b[i] }));
}

function pair<T>(a: readonly T[], b: readonly T[], nameOf: (item: T) => string) {
  const inB = new Map(b.map((item) => [nameOf(item), item]));
  const both: [T, T][] = [];
  const onlyInA: T[] = [];
  for (const item of a) {
    const other = inB.get(nameOf(item));
    if (other === undefined) onlyInA.push(item);
    else both.push([item, other]);
    inB.delete(nameOf(item));
  }
  return { both, onlyInA, onlyInB: [...inB.values()] };
}

/** Pages compared at once. */
const BATCH = 256;

/** Ranges of pages with different content, of those that both blocks have. Zero and absent are alike. */
function differingPages(
  a: BlockPages,
  readA: ReadFully,
  b: BlockPages,
  readB: ReadFully,
): PageRange[] {
  const ranges: { first: number; count: number }[] = [];
  const [left, right] = [new Uint8Array(BATCH * PAGE_SIZE), new Uint8Array(BATCH * PAGE_SIZE)];
  for (const { first, count } of storedInEither(a, b)) {
    for (let page = first; page < first + count; page += BATCH) {
      const size = Math.min(first + count - page, BATCH) * PAGE_SIZE;
      a.read(page, left.subarray(0, size), readA);
      b.read(page, right.subarray(0, size), readB);
      for (let i = 0; i < size / PAGE_SIZE; i++) {
        if (samePage(left, right, i)) continue;
        const last = ranges.at(-1);
        if (last && last.first + last.count === page + i) last.count++;
        else ranges.push({ first: page + i, count: 1 });
      }
    }
  }
  return ranges;
}

/** Compares page `index` of two buffers, 4 bytes at a time. */
function samePage(
  a: Uint8Array<ArrayBuffer>,
  b: Uint8Array<ArrayBuffer>,
  index: number,
): boolean {
  const from = index * PAGE_SIZE;
  const left = new Uint32Array(a.buffer, from, PAGE_SIZE / 4);
  const right = new Uint32Array(b.buffer, from, PAGE_SIZE / 4);
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return false;
  return true;
}

/** Ranges in which at least one of the blocks has content, up to the shorter one's end. */
function* storedInEither(a: BlockPages, b: BlockPages): Generator<PageRange> {
  const limit = Math.min(a.pages, b.pages);
  const edges = new Set([limit]);
  const stored = [a, b].map((block) => {
    const runs = [...block.runs()].filter(({ kind, first }) => kind === "stored" && first < limit);
    for (const { first, count } of runs) edges.add(first).add(Math.min(first + count, limit));
    return runs;
  });
  const sorted = [...edges].sort((x, y) => x - y);
  const next = [0, 0];
  for (const [index, first] of sorted.entries()) {
    const end = sorted[index + 1];
    if (end === undefined) return;
    const covered = stored.map((runs, side) => {
      let position = next[side] ?? 0;
      for (let run = runs[position]; run && run.first + run.count <= first; run = runs[position]) {
        position++;
      }
      next[side] = position;
      const run = runs[position];
      return run !== undefined && run.first <= first;
    });
    if (covered.some((is) => is)) yield { first, count: end - first };
  }
}
