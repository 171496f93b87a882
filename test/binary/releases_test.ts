/**
 * Guests go from a release of molt to this molt and back, compiled both, in the modes that hand a guest from
 * one process to the next.
 */
import { assert, assertEquals } from "@std/assert";
import { commitOf, type Release, releases } from "../golden/releases.ts";
import { TransferredMachine } from "../support/transferred_machine.ts";
import { UpdatedMachine } from "../support/updated_machine.ts";

const root = new URL("../..", import.meta.url).pathname;

/** The two programs, in a folder that is removed afterwards. */
class Programs implements Disposable {
  readonly #folder = Deno.makeTempDirSync({ prefix: "molt-releases-" });
  readonly old = `${this.#folder}/old`;
  readonly current = `${this.#folder}/current`;
  readonly #given = Deno.env.get("MOLT");

  static async compile(release: Release): Promise<Programs> {
    const programs = new Programs();
    try {
      const commit = await commitOf(release);
      const run = async (...args: string[]) => {
        const { success, stderr } = await new Deno.Command("sh", { args, cwd: root }).output();
        assert(success, new TextDecoder().decode(stderr));
      };
      await run("scripts/compile_release.sh", commit, programs.old);
      await run("scripts/compile.sh", programs.current);
      return programs;
    } catch (error) {
      programs[Symbol.dispose]();
      throw error;
    }
  }

  /** Machines that are started from here on run `program`. */
  use(program: string): void {
    Deno.env.set("MOLT", program);
  }

  [Symbol.dispose](): void {
    if (this.#given === undefined) Deno.env.delete("MOLT");
    else Deno.env.set("MOLT", this.#given);
    Deno.removeSync(this.#folder, { recursive: true });
  }
}

for (const release of releases) {
  Deno.test(`molt ${release} and this molt hand a guest to each other`, async (t) => {
    using programs = await Programs.compile(release);
    const turns = [programs.current, programs.old, programs.current];

    for (const withUri of [false, true]) {
      const name = withUri ? "cpr-exec with a uri" : "cpr-exec";
      await t.step(`${name}: there, back and there again`, async () => {
        programs.use(programs.old);
        await using machine = await UpdatedMachine.start();
        const uri = withUri ? `file:${machine.directory.file("state")}` : undefined;
        const incoming = uri === undefined ? [] : ["-incoming", uri];
        for (const [index, program] of turns.entries()) {
          const command = [program, ...machine.vm.command.slice(1), ...incoming];
          assertEquals(await machine.update(command, uri), index + 1);
          await machine.log.beats(2);
        }
      });
    }

    await t.step("cpr-transfer: there, back and there again", async () => {
      programs.use(programs.old);
      await using machine = await TransferredMachine.start();
      for (const program of turns) {
        programs.use(program);
        await machine.transfer(await machine.destination());
        await machine.log.beats(2);
      }
    });
  });
}
