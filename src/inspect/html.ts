/**
 * HTML pages: a report with pictures of which pages are present, sections and every field; and what two files
 * differ in.
 */
import { PAGE_SIZE } from "../memory/ram_block.ts";
import type { BlockDifference, Comparison, ValueDifference } from "./compare.ts";
import { isSame } from "./compare.ts";
import { namedDifferences, namedFields } from "./register_names.ts";
import { script, style } from "./html_assets.ts";
import { pictureOf } from "./picture.ts";
import type { BlockReport, CprReport, Report, StreamReport } from "./report.ts";
import { counted, hex, sizeText, valueText } from "./values.ts";

/** The whole page. */
export function reportHtml(report: Report): string {
  const body = report.kind === "cpr" ? cprBody(report) : streamBody(report);
  const pictures = report.kind === "cpr" ? [] : report.blocks.map(({ pages }) => {
    const { runs, ...rest } = pictureOf(pages);
    return { ...rest, runs: runs.map(({ count, stored, zero }) => [count, stored, zero]) };
  });
  return page(report.file, body, pictures);
}

/** What two files differ in, as a page. `reports` are theirs. */
export function comparisonHtml(comparison: Comparison, reports: readonly Report[]): string {
  const { a, b, configuration, onlyInA, onlyInB, devices, blocks } = comparison;
  const values = (title: string, rows: readonly ValueDifference[]) =>
    table([title, "~a", "~b"], rows.map(({ name, a, b }) => [name, valueText(a), valueText(b)]));
  const list = (title: string, names: readonly string[]) =>
    names.length === 0 ? [] : [`<h2>${title}</h2>`, table(["name"], names.map((name) => [name]))];
  const parts = [
    ...reports.map(problemText),
    table(
      ["", "file", "~what it is"],
      reports.map((report, i) => [
        i === 0 ? "a" : "b",
        report.file,
        report.kind === "cpr" ? `CPR state of ${report.mode}` : streamFacts(report),
      ]),
    ),
    ...(isSame(comparison) ? ["<p>No difference.</p>"] : []),
    ...(configuration.length === 0
      ? []
      : ["<h2>Configuration</h2>", values("name", configuration)]),
    ...list("Only in a", onlyInA),
    ...list("Only in b", onlyInB),
    ...(devices.length === 0 ? [] : ["<h2>Devices</h2>"]),
    ...devices.map((device) =>
      `<details open><summary>${escape(device.section)} <span class="faint">${
        counted(device.fields.length, "field")
      }</span></summary>${values("field", namedDifferences(device))}</details>`
    ),
    ...(blocks.length === 0 ? [] : ["<h2>Memory</h2>"]),
    ...blocks.map(differenceHtml),
  ];
  return page(`${a} and ${b}`, parts.join("\n"), []);
}

/** Most ranges of pages that are listed for a block. */
const RANGES = 1000;

function differenceHtml({ block, lengths, ranges }: BlockDifference): string {
  const pages = ranges.reduce((sum, { count }) => sum + count, 0);
  const facts = [
    `${counted(pages, "page")} ${pages === 1 ? "differs" : "differ"}`,
    ...(lengths.a === lengths.b ? [] : [`${hex(lengths.a)} bytes in a, ${hex(lengths.b)} in b`]),
    ...(ranges.length > RANGES ? [`the first ${RANGES} of ${ranges.length} ranges`] : []),
  ];
  const rows = ranges.slice(0, RANGES).map(({ first, count }) => [
    hex(first * PAGE_SIZE),
    hex((first + count) * PAGE_SIZE),
    String(count),
  ]);
  return `<details open><summary>${escape(block)} <span class="faint">${
    escape(facts.join(" · "))
  }</span></summary>${table(["#from", "#to", "#pages"], rows)}</details>`;
}

function page(title: string, body: string, pictures: readonly unknown[]): string {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title>
<style>${style}</style>
</head>
<body>
<h1>${escape(title)}</h1>
${body}
<script type="application/json" id="pictures">${JSON.stringify(pictures)}</script>
<script>${script}</script>
</body>
</html>
`;
}

/** Text as HTML: names and values come from the file. */
function escape(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** A column's title; `#` before it: numbers, to the right; `~`: may be broken into lines. */
type Title = string;

function table(titles: readonly Title[], rows: readonly (readonly string[])[]): string {
  const kinds = titles.map((title) => title[0] === "#" ? "number" : title[0] === "~" ? "wide" : "");
  const cell = (tag: string, text: string, i: number) =>
    `<${tag}${kinds[i] ? ` class="${kinds[i]}"` : ""}>${escape(text)}</${tag}>`;
  const head = titles.map((title, i) => cell("th", title.replace(/^[#~]/, ""), i)).join("");
  const body = rows.map((row) => `<tr>${row.map((text, i) => cell("td", text, i)).join("")}</tr>`);
  return `<div class="table"><table><thead><tr>${head}</tr></thead><tbody>${
    body.join("\n")
  }</tbody></table></div>`;
}

function problemText({ problem }: Report): string {
  return problem ? `<p class="wrong" role="alert">${escape(problem.message)}</p>` : "";
}

function cprBody(report: CprReport): string {
  const rows = report.descriptors.map(({ offset, name, id, descriptor }) => [
    hex(offset),
    name,
    String(id),
    descriptor === undefined ? "sent beside" : String(descriptor),
  ]);
  return `<p>CPR state of ${report.mode}, ${escape(sizeText(report.size))}</p>
${problemText(report)}
<h2>Descriptors</h2>
${table(["#offset", "name", "#id", "descriptor"], rows)}`;
}

/** What a stream is, in one line. */
function streamFacts({ capabilities, machineType, size, uuid }: StreamReport): string {
  return [
    capabilities.includes("mapped-ram") ? "Snapshot (mapped-ram)" : "Migration stream",
    ...(machineType === undefined ? [] : [`machine type ${machineType}`]),
    sizeText(size),
    capabilities.length > 0 ? `capabilities ${capabilities.join(", ")}` : "no capabilities",
    ...(uuid === undefined ? [] : [`uuid ${uuid}`]),
  ].join(" · ");
}

function streamBody(report: StreamReport): string {
  const { parts, devices, blocks } = report;
  const sections = parts.map(({ offset, size, kind, name, section }) => [
    hex(offset),
    String(size),
    kind,
    section === undefined ? name : `${name}/${section.instanceId}`,
    section === undefined ? "" : String(section.version),
  ]);
  return `<p>${escape(streamFacts(report))}</p>
${problemText(report)}
${blocks.length === 0 ? "" : `<h2>Memory</h2>\n${legend}\n${blocks.map(blockHtml).join("\n")}`}
<h2>Sections</h2>
${table(["#offset", "#size", "kind", "name", "#version"], sections)}
<h2>Devices</h2>
${
    devices.map((device) => {
      const { name, instanceId, version, offset, size } = device;
      return `<details><summary>${
        escape(`${name}/${instanceId}`)
      } <span class="faint">version ${version}, ${counted(size, "byte")} at ${
        hex(offset)
      }</span></summary>${
        table(
          ["#offset", "#size", "type", "field", "~value"],
          namedFields(device).map(({ path, offset, size, type, value }) => [
            hex(offset),
            String(size),
            type,
            path,
            valueText(value),
          ]),
        )
      }</details>`;
    }).join("\n")
  }`;
}

const legend = `<ul class="legend">
<li><i style="background: var(--stored)"></i>stored: the file has the content</li>
<li><i style="background: var(--zero)"></i>zero: the file says so</li>
<li><i style="background: var(--absent)"></i>absent: the file says nothing</li>
</ul>`;

function blockHtml(
  { name, length, guestAddress, mapped, pages, checksum }: BlockReport,
  i: number,
) {
  const { stored, zero, absent } = pages.counts();
  const { pagesPerCell } = pictureOf(pages);
  const counts = `${stored} stored, ${zero} zero, ${absent} absent`;
  const facts = [
    sizeText(length),
    `${counted(pages.pages, "page")}: ${counts}`,
    pagesPerCell === 1 ? "a square is a page" : `a square is ${pagesPerCell} pages`,
    ...(guestAddress === undefined ? [] : [`guest address ${hex(guestAddress)}`]),
    ...(mapped === undefined
      ? []
      : [`bitmap at ${hex(mapped.bitmapOffset)}, pages at ${hex(mapped.pagesOffset)}`]),
    ...(checksum === undefined ? [] : [`sha-256 ${checksum}`]),
  ];
  return `<section class="block">
<header><h3>${escape(name)}</h3><span class="faint">${escape(facts.join(" · "))}</span></header>
<canvas data-block="${i}" role="img" aria-label="${escape(`Pages of ${name}: ${counts}`)}"></canvas>
<p class="where" aria-live="off"></p>
</section>`;
}
