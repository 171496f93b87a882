/** A report as one HTML page: pictures of which pages are present, sections, every field. */
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
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(report.file)}</title>
<style>${style}</style>
</head>
<body>
<h1>${escape(report.file)}</h1>
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

function streamBody(report: StreamReport): string {
  const { capabilities, machineType, uuid, parts, devices, blocks } = report;
  const form = capabilities.includes("mapped-ram") ? "Snapshot (mapped-ram)" : "Migration stream";
  const facts = [
    form,
    ...(machineType === undefined ? [] : [`machine type ${machineType}`]),
    sizeText(report.size),
    capabilities.length > 0 ? `capabilities ${capabilities.join(", ")}` : "no capabilities",
    ...(uuid === undefined ? [] : [`uuid ${uuid}`]),
  ];
  const sections = parts.map(({ offset, size, kind, name, section }) => [
    hex(offset),
    String(size),
    kind,
    section === undefined ? name : `${name}/${section.instanceId}`,
    section === undefined ? "" : String(section.version),
  ]);
  return `<p>${escape(facts.join(" · "))}</p>
${problemText(report)}
${blocks.length === 0 ? "" : `<h2>Memory</h2>\n${legend}\n${blocks.map(blockHtml).join("\n")}`}
<h2>Sections</h2>
${table(["#offset", "#size", "kind", "name", "#version"], sections)}
<h2>Devices</h2>
${
    devices.map(({ name, instanceId, version, offset, size, fields }) =>
      `<details><summary>${
        escape(`${name}/${instanceId}`)
      } <span class="faint">version ${version}, ${counted(size, "byte")} at ${
        hex(offset)
      }</span></summary>${
        table(
          ["#offset", "#size", "type", "field", "~value"],
          fields.map(({ path, offset, size, type, value }) => [
            hex(offset),
            String(size),
            type,
            path,
            valueText(value),
          ]),
        )
      }</details>`
    ).join("\n")
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
