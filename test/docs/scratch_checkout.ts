/** A checkout of its own for the documents' commands, beside an empty folder elsewhere. */
import { copyCheckoutFiles } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";

/** What is built already stays built in it. */
export class ScratchCheckout implements Disposable {
  readonly #directory = new TemporaryDirectory();

  static async create(): Promise<ScratchCheckout> {
    const checkout = new ScratchCheckout();
    try {
      await copyCheckoutFiles(checkout.path);
      // The same deno, by the name that documents use.
      Deno.mkdirSync(checkout.#directory.file("bin"));
      Deno.symlinkSync(Deno.execPath(), checkout.#directory.file("bin/deno"));
      return checkout;
    } catch (error) {
      checkout[Symbol.dispose]();
      throw error;
    }
  }

  /** Its folder is called molt, as after `git clone`. */
  get path(): string {
    return this.#directory.file("molt");
  }

  /** Environment of its shells. */
  get env(): Record<string, string> {
    return {
      PATH: `${this.#directory.file("bin")}:${Deno.env.get("PATH") ?? ""}`,
      DENO_NO_UPDATE_CHECK: "1",
      NO_COLOR: "1",
    };
  }

  /** Makes its dist/molt. */
  async compile(): Promise<void> {
    await run(["sh", "scripts/compile.sh"], { directory: this.path, env: this.env });
  }

  /** A new folder for what is no part of it. */
  folder(name: string): string {
    const path = this.#directory.file(name);
    Deno.mkdirSync(path);
    return path;
  }

  [Symbol.dispose](): void {
    this.#directory[Symbol.dispose]();
  }
}
