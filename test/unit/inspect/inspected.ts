/** `molt inspect` as its tests run it. */
import { assert, assertEquals } from "@std/assert";
import { inspect } from "../../../src/inspect/inspect.ts";
import { fixture, q35Fixture } from "../../golden/fixtures.ts";

/** Fixtures as files, in a folder that is removed afterwards. */
export class Files implements Disposable {
  readonly folder = Deno.makeTempDirSync();

  async golden(name: string): Promise<string> {
    return this.write(name, await fixture(name));
  }

  async q35(name: string): Promise<string> {
    return this.write(name, await q35Fixture(name));
  }

  write(name: string, bytes: Uint8Array): string {
    const path = `${this.folder}/${name}`;
    Deno.writeFileSync(path, bytes);
    return path;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}

/** Runs `molt inspect`. */
export async function run(
  ...argv: string[]
): Promise<{ status: number; out: string; complaints: string }> {
  const out: string[] = [];
  const complaints: string[] = [];
  const status = await inspect(argv, {
    print: (text) => out.push(text),
    complain: (text) => complaints.push(text),
  });
  return { status, out: out.join("\n"), complaints: complaints.join("\n") };
}

/** What `--json` says of a stream, as far as tests look at it. */
export interface InspectedStream {
  readonly size: number;
  readonly "trailing-bytes": number;
  readonly sections: readonly {
    readonly kind: string;
    readonly name: string;
    readonly offset: number;
    readonly size: number;
  }[];
  readonly devices: readonly {
    readonly name: string;
    readonly offset: number;
    readonly size: number;
    readonly "read-by": "declaration" | "description" | "bytes";
    readonly fields: readonly {
      readonly name: string;
      readonly offset: number;
      readonly size: number;
      readonly value: unknown;
    }[];
  }[];
  readonly blocks: readonly {
    readonly length: number;
    readonly pages: { stored: number; zero: number; absent: number; total: number };
  }[];
}

/** Every byte from `offset` on belongs to a section, and every field lies in its device. */
export function checkAccounted(report: InspectedStream, offset: number): void {
  let at = offset;
  for (const section of report.sections) {
    // What a package holds lies inside it.
    assertEquals(section.offset, at, `${section.kind} ${section.name}`);
    at += section.size;
  }
  assertEquals(at + report["trailing-bytes"], report.size);
  for (const device of report.devices) {
    assert(device.fields.length > 0, device.name);
    for (const field of device.fields) {
      assert(field.offset >= device.offset);
      assert(field.offset + field.size <= device.offset + device.size);
    }
  }
  for (const { pages, length } of report.blocks) {
    assertEquals(pages.stored + pages.zero + pages.absent, pages.total);
    assertEquals(pages.total * 4096, length);
  }
}
