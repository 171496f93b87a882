/** Reports as text for a person. */
import type { FieldTrace } from "../vmstate/vmstate.ts";
import type { BlockReport, CprReport, DeviceReport, Part, Report, StreamReport } from "./report.ts";
import { namedFields } from "./register_names.ts";
import { tableLines } from "./text_table.ts";
import { counted, hex, sizeText, valueText } from "./values.ts";

/** What of a report is shown. */
export interface TableOptions {
  /** Devices with every field, and not only the list of sections. */
  readonly fields: boolean;
}

/** A report as lines of text. */
export function reportText(report: Report, options: TableOptions): string {
  const sections = report.kind === "cpr" ? cprSections(report) : streamSections(report, options);
  if (report.problem) sections.push([`error: ${report.problem.message}`]);
  return sections.map((lines) => lines.join("\n")).join("\n\n");
}

function cprSections(report: CprReport): string[][] {
  return [
    [`${report.file}: CPR state of ${report.mode}, ${sizeText(report.size)}`],
    [
      "Descriptors",
      ...tableLines(
        [{ title: "offset", align: "right" }, { title: "name" }, { title: "id", align: "right" }, {
          title: "descriptor",
        }],
        report.descriptors.map(({ offset, name, id, descriptor }) => [
          hex(offset),
          name,
          String(id),
          descriptor === undefined ? "sent beside" : String(descriptor),
        ]),
      ),
    ],
  ];
}

function streamSections(report: StreamReport, { fields }: TableOptions): string[][] {
  const { capabilities, parts, devices, blocks } = report;
  const form = capabilities.includes("mapped-ram") ? "snapshot (mapped-ram)" : "migration stream";
  const at = report.offset === 0 ? "" : `, from offset ${hex(report.offset)}`;
  const sections = [[`${report.file}: ${form}, ${sizeText(report.size)}${at}`]];
  if (report.machineType !== undefined) sections.push(configurationLines(report));
  if (blocks.length > 0) sections.push(blockLines(report));
  if (parts.length > 0) sections.push(partLines(parts, report));
  if (fields) sections.push(...devices.map(deviceLines));
  return sections;
}

function configurationLines({ machineType, capabilities, uuid }: StreamReport): string[] {
  return [
    "Configuration",
    `  machine type  ${machineType}`,
    `  capabilities  ${capabilities.join(", ") || "none"}`,
    ...(uuid === undefined ? [] : [`  uuid          ${uuid}`]),
  ];
}

function blockLines({ blocks, records }: StreamReport): string[] {
  const addressed = blocks.some(({ guestAddress }) => guestAddress !== undefined);
  const mapped = blocks.some((block) => block.mapped !== undefined);
  const summed = blocks.some(({ checksum }) => checksum !== undefined);
  const columns = [
    { title: "block" },
    { title: "size", align: "right" },
    { title: "pages", align: "right" },
    { title: "stored", align: "right" },
    { title: "zero", align: "right" },
    { title: "absent", align: "right" },
    ...(addressed ? [{ title: "guest address", align: "right" } as const] : []),
    ...(mapped ? [{ title: "bitmap at", align: "right" } as const] : []),
    ...(mapped ? [{ title: "pages at", align: "right" } as const] : []),
    ...(summed ? [{ title: "sha-256" }] : []),
  ] as const;
  const rows = blocks.map((block) => {
    const { stored, zero, absent } = block.pages.counts();
    const place = block.mapped;
    return [
      block.name,
      sizeText(block.length),
      String(block.pages.pages),
      String(stored),
      String(zero),
      String(absent),
      ...(addressed ? [block.guestAddress === undefined ? "-" : hex(block.guestAddress)] : []),
      ...(mapped ? [place ? hex(place.bitmapOffset) : "-"] : []),
      ...(mapped ? [place ? hex(place.pagesOffset) : "-"] : []),
      ...(summed ? [block.checksum ?? ""] : []),
    ];
  });
  const counts = Object.entries(records).filter(([kind]) => kind !== "blocks")
    .map(([kind, count]) => `${count} × ${kind}`);
  return [
    "Memory",
    ...tableLines(columns, rows),
    ...(counts.length > 0 ? [`  records: ${counts.join(", ")}`] : []),
  ];
}

function partLines(parts: readonly Part[], { size, trailing }: StreamReport): string[] {
  const rows = parts.map(({ offset, size, kind, name, section }) => [
    hex(offset),
    String(size),
    kind,
    section === undefined ? name : `${name}/${section.instanceId}`,
    section === undefined ? "" : String(section.version),
    section === undefined ? "" : String(section.sectionId),
  ]);
  if (trailing > 0) rows.push([hex(size - trailing), String(trailing), "trailing bytes"]);
  return [
    "Sections",
    ...tableLines([
      { title: "offset", align: "right" },
      { title: "size", align: "right" },
      { title: "kind" },
      { title: "name" },
      { title: "version", align: "right" },
      { title: "number", align: "right" },
    ], rows),
  ];
}

/** What is said of a device whose fields are not read by molt's own declaration. */
const notes = {
  declaration: "",
  description: ", as the stream describes it",
  bytes: ", which the stream does not describe",
} as const;

function deviceLines(device: DeviceReport): string[] {
  const { name, instanceId, version, offset, size } = device;
  const place = `version ${version}, ${counted(size, "byte")} at ${hex(offset)}`;
  return [
    `${name}/${instanceId}  ${place}${notes[device.readBy]}`,
    ...tableLines(
      [
        { title: "offset", align: "right" },
        { title: "size", align: "right" },
        { title: "field" },
        { title: "value" },
      ],
      foldFields(namedFields(device)).map(({ first, last, count, size }) => [
        hex(first.offset),
        String(size),
        count === 1 ? first.path : foldedPath(first.path, last.path),
        count === 1 ? valueText(first.value) : `${count} × ${valueText(first.value)}`,
      ]),
    ),
  ];
}

/** Neighbouring elements of an array that hold the same. */
interface FoldedFields {
  readonly first: FieldTrace;
  last: FieldTrace;
  count: number;
  size: number;
  readonly value: string;
}

/** Puts neighbours together that differ in their indexes only. */
function foldFields(fields: readonly FieldTrace[]): FoldedFields[] {
  const folded: FoldedFields[] = [];
  const pattern = (path: string) => path.replaceAll(/\[\d+\]/g, "[]");
  for (const field of fields) {
    const value = valueText(field.value);
    const previous = folded.at(-1);
    const same = previous !== undefined && previous.value === value &&
      previous.first.path !== field.path && field.path.includes("[") &&
      pattern(previous.first.path) === pattern(field.path);
    if (same) {
      previous.last = field;
      previous.count++;
      previous.size += field.size;
    } else {
      folded.push({ first: field, last: field, count: 1, size: field.size, value });
    }
  }
  return folded;
}

/** `a[0].b` and `a[3].b` as `a[0..3].b`. */
function foldedPath(first: string, last: string): string {
  const ends = [...last.matchAll(/\[(\d+)\]/g)].map(([, index]) => index);
  let position = 0;
  return first.replaceAll(/\[(\d+)\]/g, (_, index: string) => {
    const end = ends[position++];
    return index === end ? `[${index}]` : `[${index}..${end}]`;
  });
}

/** The table of a block's runs of pages: for `--pages`. */
export function pageRunLines({ name, pages }: BlockReport): string[] {
  return [
    `pages of ${name}`,
    ...tableLines(
      [{ title: "from", align: "right" }, { title: "to", align: "right" }, {
        title: "pages",
        align: "right",
      }, { title: "kind" }],
      [...pages.runs()].map(({ first, count, kind }) => [
        hex(first * 4096),
        hex((first + count) * 4096),
        String(count),
        kind,
      ]),
    ),
  ];
}
