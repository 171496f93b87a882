/** Reports as JSON for programs: names in kebab-case as in QMP, 64-bit numbers exact. */
import type { FieldTrace } from "../vmstate/vmstate.ts";
import type { BlockReport, Report, StreamReport } from "./report.ts";

/**
 * A value as JSON text. bigints become numbers with all their digits, byte arrays hex strings, members
 * that are undefined are left out.
 */
export function jsonText(value: unknown, indent = ""): string {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) {
    return `"${Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("")}"`;
  }
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    const simple = value.every((element) => typeof element !== "object");
    const items = value.map((element) => jsonText(element ?? null, inner));
    return simple
      ? `[${items.join(", ")}]`
      : `[\n${items.map((item) => inner + item).join(",\n")}\n${indent}]`;
  }
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value).filter(([, member]) => member !== undefined)
      .map(([name, member]) => `${inner}${JSON.stringify(name)}: ${jsonText(member, inner)}`);
    return members.length === 0 ? "{}" : `{\n${members.join(",\n")}\n${indent}}`;
  }
  return JSON.stringify(value) ?? "null";
}

/** The report as a plain value for {@linkcode jsonText}. */
export function reportValue(report: Report): unknown {
  const { file, size, offset, problem } = report;
  const common = {
    file,
    size,
    offset,
    error: problem && { message: problem.message, offset: problem.offset },
  };
  if (report.kind === "cpr") {
    return { format: "cpr-state", mode: report.mode, ...common, descriptors: report.descriptors };
  }
  return {
    format: report.capabilities.includes("mapped-ram") ? "mapped-ram" : "stream",
    ...common,
    configuration: report.machineType === undefined ? undefined : {
      "machine-type": report.machineType,
      capabilities: report.capabilities,
      uuid: report.uuid,
    },
    sections: report.parts.map(({ offset, size, kind, name, section }) => ({
      offset,
      size,
      kind,
      name,
      "section-id": section?.sectionId,
      "instance-id": section?.instanceId,
      version: section?.version,
    })),
    blocks: report.blocks.map(blockValue),
    "ram-records": report.records,
    devices: devicesValue(report),
    "trailing-bytes": report.trailing,
  };
}

function blockValue({ name, length, guestAddress, mapped, pages, checksum }: BlockReport): unknown {
  return {
    name,
    length,
    "guest-address": guestAddress,
    "bitmap-offset": mapped?.bitmapOffset,
    "pages-offset": mapped?.pagesOffset,
    pages: { total: pages.pages, ...pages.counts() },
    sha256: checksum,
  };
}

function devicesValue({ devices }: StreamReport): unknown {
  return devices.map(({ name, instanceId, version, offset, size, fields, readBy }) => ({
    name,
    "instance-id": instanceId,
    version,
    offset,
    size,
    "read-by": readBy,
    fields: fields.map(({ path, offset, size, type, value }: FieldTrace) => ({
      name: path,
      offset,
      size,
      type,
      value: value ?? null,
    })),
  }));
}
