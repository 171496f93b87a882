/** What a migration stream reports, in a form in which two streams can be compared. */
import { itemsOf, readerOf } from "../golden/rewrite.ts";

/** Bytes: devices' state and its description are less, and with memory in it a stream is megabytes. */
export const STREAM_LIMIT = 128 * 1024;

/** A stream without its pages. */
export interface StreamContents {
  /** Sections and commands in their order: `cpu/1 version 12`. */
  readonly order: readonly string[];
  /** Every field of every device: `serial/0 state.rbr` -> its value as text. */
  readonly fields: ReadonlyMap<string, string>;
  /** Names and sizes of the RAM blocks. */
  readonly blocks: readonly string[];
  /** The description of the devices' layouts: JSON. */
  readonly description: unknown;
}

/** Reads a stream to its end. */
export function readStream(path: string): StreamContents {
  const order: string[] = [];
  const fields = new Map<string, string>();
  const blocks: string[] = [];
  let description: unknown;
  for (const item of itemsOf(readerOf(Deno.readFileSync(path), { trace: true }))) {
    switch (item.kind) {
      case "configuration":
        fields.set("configuration", asText(item.configuration));
        break;
      case "command":
        order.push(item.command.name);
        break;
      case "ram":
        if (item.record.kind !== "blocks") break;
        for (const { name, length } of item.record.blocks) blocks.push(`${name} ${length}`);
        break;
      case "device": {
        const device = `${item.section.idstr}/${item.section.instanceId}`;
        order.push(`${device} version ${item.section.version}`);
        for (const { path, value } of item.fields ?? []) {
          fields.set(`${device} ${path}`, asText(value));
        }
        break;
      }
      case "description":
        description = JSON.parse(item.text);
        break;
    }
  }
  return { order, fields, blocks, description };
}

/** The names of the fields in which two streams differ. */
export function differingFields(a: StreamContents, b: StreamContents): string[] {
  const names = new Set([...a.fields.keys(), ...b.fields.keys()]);
  return [...names].filter((name) => a.fields.get(name) !== b.fields.get(name));
}

function asText(value: unknown): string {
  if (value instanceof Uint8Array) {
    return Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }
  return JSON.stringify(value, (_, part) => typeof part === "bigint" ? String(part) : part);
}
