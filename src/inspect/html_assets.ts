/** Style and script of the HTML report: they are part of the page, which needs nothing else. */

export const style = `
:root {
  color-scheme: light dark;
  --ground: #fbfaf8; --ink: #22252a; --faint: #6b7078; --line: #dcd9d2; --panel: #ffffff;
  --stored: #1f6f78; --zero: #c9c3b6; --absent: #f0ede6; --wrong: #a8321f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #16181b; --ink: #e4e2dc; --faint: #9a9ea6; --line: #34383d; --panel: #1e2125;
    --stored: #5fc4cf; --zero: #5a564d; --absent: #26282c; --wrong: #ff8f7a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 72rem; background: var(--ground);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
}
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 0; font-family: ui-monospace, monospace; }
p { margin: .25rem 0; }
.faint { color: var(--faint); }
.wrong { color: var(--wrong); border: 1px solid; padding: .5rem .75rem; border-radius: 6px; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font: 13px/1.4 ui-monospace, monospace; }
th { text-align: left; font-weight: 600; color: var(--faint); }
th, td { padding: .2rem 1.25rem .2rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; vertical-align: top; }
td.wide { white-space: normal; overflow-wrap: anywhere; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.block { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 1rem; margin-bottom: 1rem; }
.block header { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: baseline; margin-bottom: .75rem; }
canvas { display: block; max-width: 100%; image-rendering: pixelated; cursor: crosshair; border: 1px solid var(--line); }
.where { min-height: 1.5em; margin-top: .5rem; font: 13px/1.5 ui-monospace, monospace; color: var(--faint); }
.legend { display: flex; flex-wrap: wrap; gap: 1.25rem; margin: 0 0 1rem; padding: 0; list-style: none; }
.legend i { display: inline-block; width: .9em; height: .9em; margin-right: .4em; vertical-align: -.1em; border: 1px solid var(--line); }
details { border-bottom: 1px solid var(--line); padding: .35rem 0; }
summary { cursor: pointer; font-family: ui-monospace, monospace; font-size: 13px; }
details .table { margin: .5rem 0 1rem 1rem; }
`;

/**
 * Draws each block's cells into its canvas, one cell a square, row by row, and says what lies under
 * the pointer.
 */
export const script = `
"use strict";
const PAGE = 4096;
const blocks = JSON.parse(document.getElementById("pictures").textContent);
const colours = () => {
  const style = getComputedStyle(document.documentElement);
  const rgb = (name) => {
    const hex = style.getPropertyValue(name).trim();
    return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  };
  return { stored: rgb("--stored"), zero: rgb("--zero"), absent: rgb("--absent"), none: rgb("--panel") };
};
const hex = (value) => "0x" + value.toString(16);
function draw(canvas, block, palette) {
  const cells = block.runs.reduce((sum, [count]) => sum + count, 0);
  const columns = Math.min(512, Math.max(16, 2 ** Math.ceil(Math.log2(Math.sqrt(cells * 2)))));
  const scale = Math.max(1, Math.min(12, Math.floor(1024 / columns)));
  const rows = Math.ceil(cells / columns);
  canvas.width = columns;
  canvas.height = rows;
  canvas.style.width = columns * scale + "px";
  canvas.style.aspectRatio = columns + " / " + rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  let cell = 0;
  const put = ([red, green, blue]) => image.data.set([red, green, blue, 255], 4 * cell++);
  for (const [count, stored, zero] of block.runs) {
    const parts = [[palette.stored, stored], [palette.zero, zero],
      [palette.absent, block.pagesPerCell - stored - zero]];
    const mixed = [0, 1, 2].map((channel) =>
      parts.reduce((sum, [colour, weight]) => sum + colour[channel] * weight, 0) / block.pagesPerCell);
    for (let i = 0; i < count; i++) put(mixed);
  }
  while (cell < columns * rows) put(palette.none);
  context.putImageData(image, 0, 0);
  return { columns, cells };
}
function describe(block, cell) {
  let before = 0;
  for (const [count, stored, zero] of block.runs) {
    if (cell < before + count) {
      const first = cell * block.pagesPerCell;
      const pages = Math.min(block.pagesPerCell, block.pages - first);
      const kinds = [[stored, "stored"], [zero, "zero"], [pages - stored - zero, "absent"]]
        .filter(([number]) => number > 0)
        .map(([number, kind]) => pages === 1 ? kind : number + " " + kind);
      return hex(first * PAGE) + " to " + hex((first + pages) * PAGE) + ": " + kinds.join(", ");
    }
    before += count;
  }
  return "";
}
function drawAll() {
  const palette = colours();
  for (const canvas of document.querySelectorAll("canvas")) {
    const block = blocks[Number(canvas.dataset.block)];
    const { columns, cells } = draw(canvas, block, palette);
    const where = canvas.nextElementSibling;
    const key = "0x0 is at the top left, a row is " + columns * block.pagesPerCell * PAGE / 1024 + " KiB";
    where.textContent = key;
    canvas.onpointermove = (event) => {
      const box = canvas.getBoundingClientRect();
      const at = (value, start, size, count) =>
        Math.min(count - 1, Math.max(0, Math.floor((value - start) / size * count)));
      const cell = at(event.clientY, box.top, box.height, canvas.height) * columns +
        at(event.clientX, box.left, box.width, columns);
      where.textContent = cell < cells ? describe(block, cell) : key;
    };
    canvas.onpointerleave = () => { where.textContent = key; };
  }
}
drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
`;
