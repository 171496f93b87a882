/** A file system without room. */
import type { Life } from "./life.ts";
import { run } from "./mounts.ts";

/** One that is mounted in a life's folder. */
export class FullDisk implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Mounts it. Its only block is taken. */
  static async mount(life: Life): Promise<FullDisk> {
    const path = life.path("files/full");
    await Deno.mkdir(path);
    const options = "size=4k,mode=1777";
    const mounted = await run("mount", "-t", "tmpfs", "-o", options, "molt-test", path);
    if (!mounted.success) {
      await Deno.remove(path);
      throw new Error(`cannot mount a small file system: ${mounted.errors}`);
    }
    await Deno.writeFile(`${path}/block`, new Uint8Array(4096));
    life.journal.note(`mount -t tmpfs -o ${options} molt-test ${path}; a block is written to it`);
    return new FullDisk(path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { success, errors } = await run("umount", this.path);
    if (!success) throw new Error(errors);
    await Deno.remove(this.path);
  }
}
