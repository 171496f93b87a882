import { assertEquals, assertNotEquals } from "@std/assert";
import { parseCommandLine } from "../../../src/cli/parse.ts";
import { OptionError } from "../../../src/configuration/errors.ts";

interface Complaint {
  readonly argv: readonly string[];
  readonly line: string;
  readonly hint: string;
}

/** Words separated by spaces; single quotes hold a word together. */
function words(text: string): string[] {
  return [...text.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? "");
}

async function readTable(): Promise<Complaint[]> {
  const text = await Deno.readTextFile(new URL("qemu_error_lines.txt", import.meta.url));
  const blocks = text.split(/^(?=\$ )/m).slice(1);
  return blocks.map((block) => {
    const lines = block.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    const [command = "", line = "", ...advice] = lines;
    return {
      argv: words(command.slice("$ ".length)),
      line,
      hint: advice.map((line) => line.trim()).join("\n"),
    };
  });
}

function complaintOf(argv: readonly string[]): OptionError {
  const host = {
    readText(path: string): string {
      throw new Error(`Could not open '${path}': No such file or directory`);
    },
  };
  try {
    parseCommandLine(["-nodefaults", ...argv], host);
  } catch (error) {
    if (error instanceof OptionError) return error;
    throw error;
  }
  throw new Error(`accepted: ${argv.join(" ")}`);
}

Deno.test("what QEMU refuses is refused in QEMU's words", async () => {
  const table = await readTable();
  assertNotEquals(table.length, 0);
  for (const { argv, line, hint } of table) {
    const error = complaintOf(argv);
    assertEquals(error.message, line, argv.join(" "));
    if (hint !== "") assertEquals(error.hint, hint, argv.join(" "));
  }
});
