/**
 * Every command of README.md and docs/*.md is run as it stands there, in a checkout of its own, in the order
 * of the document, in a shell. documents.ts says how a block can be marked; at the end all are counted.
 *
 * So are those that the demo prints at its end.
 *
 * Arguments: --host leaves out those that need /dev/kvm; any other word chooses the documents whose names
 * contain it, `demo` what the demo prints.
 */
import { assert, assertEquals } from "@std/assert";
import {
  type Block,
  blocksOf,
  ciCommands,
  commandsOf,
  documentNames,
  type Exchange,
  matches,
} from "./documents.ts";
import { nextSteps } from "../../scripts/lib/demo_machine.ts";
import { ScratchCheckout } from "./scratch_checkout.ts";
import { type Job, ShellSession } from "./shell_session.ts";
import { PATIENCE, until } from "../support/patience.ts";

const hostOnly = Deno.args.includes("--host");
const chosen = Deno.args.filter((argument) => argument !== "--host");
const documents = documentNames().filter((name) =>
  chosen.length === 0 || chosen.some((part) => name.includes(part))
);
const withDemo = !hostOnly && (chosen.length === 0 || chosen.includes("demo"));
/** How long a block may take, in ms. */
const LIMIT = 2 * PATIENCE;

/** What became of the blocks of all documents. */
const outcomes: { readonly block: Block; readonly outcome: string }[] = [];

Deno.test("commands of README.md and docs", async (t) => {
  assert(documents.length > 0 || withDemo, `no document's name contains ${chosen.join(" or ")}`);
  const all = documents.flatMap((document) => blocksOf(document));
  using checkout = await ScratchCheckout.create();
  // Where it is not chosen, README's first command for the others is made up for.
  if (!documents.includes("README.md")) await checkout.compile();
  const failed: string[] = [];
  for (const document of documents) {
    if (!await t.step(document, (t) => runDocument(t, checkout, document))) failed.push(document);
  }
  const afterDemo = "what the demo says to try next";
  if (withDemo && !await t.step(afterDemo, () => runNextSteps(checkout))) failed.push(afterDemo);
  printCounts();
  assertEquals(failed, [], "documents with a command that failed");
  assertEquals(outcomes.length, all.length, "blocks that nothing has happened to");
});

async function runDocument(
  t: Deno.TestContext,
  checkout: ScratchCheckout,
  document: string,
): Promise<void> {
  const blocks = blocksOf(document);
  const files = checkout.folder(document.replace("/", "-"));
  await using shell = new ShellSession(checkout.path, files, checkout.env);
  const jobs: { readonly job: Job; readonly block: Block }[] = [];
  for (const block of blocks) {
    const name = `line ${block.line}: ${commandsOf(block.text)[0] ?? ""}`;
    const held = await t.step(name, async () => {
      const outcome = await runBlock(shell, checkout, block, jobs);
      outcomes.push({ block, outcome });
    });
    // What follows relies on it.
    if (!held) throw new Error(`${document}:${block.line} failed, and what follows was not run`);
  }
  for (const { job, block } of jobs) {
    const { status, output } = await shell.finish(job, LIMIT);
    assertEquals(status, 0, `${document}:${block.line} ended with status ${status}:\n${output}`);
  }
  await until(`${document} leaves no process behind`, () => shell.running.length === 0);
}

async function runNextSteps(checkout: ScratchCheckout): Promise<void> {
  await using shell = new ShellSession(checkout.path, checkout.folder("demo"), checkout.env);
  const [machine = "", ...others] = nextSteps();
  await shell.start(machine);
  for (const command of others) {
    const { status, output } = await shell.run(`${command}\n`, LIMIT);
    assertEquals(status, 0, `${command}\nended with status ${status}:\n${output}`);
  }
}

/** Does with a block what is to be done, and says what that was. */
async function runBlock(
  shell: ShellSession,
  checkout: ScratchCheckout,
  { document, line, text, handling, needsKvm }: Block,
  jobs: { job: Job; block: Block }[],
): Promise<string> {
  const place = `${document}:${line}`;
  switch (handling.kind) {
    case "text":
      return "not commands";
    case "not run":
      return `not run: ${handling.reason}`;
    case "CI step": {
      const steps = ciCommands();
      for (const command of commandsOf(text)) {
        assert(steps.has(command), `${place}: no step of .ci/run: ${command}`);
      }
      return "run by .ci/run";
    }
    case "file":
      if (needsKvm && hostOnly) return "not run: needs /dev/kvm";
      Deno.writeTextFileSync(new URL(handling.path, `file://${checkout.path}/`), text);
      return "written to a file";
    default:
      if (needsKvm && hostOnly) return "not run: needs /dev/kvm";
  }
  if (handling.kind === "first terminal") {
    const job = await shell.start(text);
    jobs.push({ job, block: { document, line, text, handling, needsKvm } });
  } else if (handling.kind === "run") {
    const { status, output } = await shell.run(text, LIMIT);
    assertEquals(status, 0, `${place} ended with status ${status}:\n${output}`);
  } else {
    await compare(shell, place, handling.exchanges);
  }
  return "run";
}

async function compare(
  shell: ShellSession,
  place: string,
  exchanges: readonly Exchange[],
): Promise<void> {
  for (const [index, { command, output: shown }] of exchanges.entries()) {
    const { status, output } = await shell.runOne(`${command}\n`, LIMIT);
    const said = `${place}: ${command}\nended with status ${status} and printed\n${output}`;
    // A document that shows a failure asks for the status.
    const asked = exchanges[index + 1]?.command === "echo $?";
    assert(status === 0 || asked, said);
    assert(matches(shown, output), `${said}\ninstead of\n${shown}`);
  }
}

function printCounts(): void {
  const kinds = Map.groupBy(outcomes, ({ outcome }) => outcome);
  console.log(`${outcomes.length} blocks in ${documents.length} documents:`);
  for (const [outcome, list] of kinds) {
    const places = outcome.startsWith("not run")
      ? ` (${list.map(({ block }) => `${block.document}:${block.line}`).join(", ")})`
      : "";
    console.log(`${String(list.length).padStart(4)} ${outcome}${places}`);
  }
}
