/** Directories that a test has to itself. */

/** A directory that is removed with everything in it when it is disposed. */
export class TemporaryDirectory implements Disposable {
  readonly path: string;

  /** `parent`: where the file system matters, such as /dev/shm. */
  constructor(parent?: string) {
    this.path = Deno.makeTempDirSync({
      prefix: "molt-",
      ...(parent === undefined ? {} : { dir: parent }),
    });
  }

  /** The path of a file in the directory. */
  file(name: string): string {
    return `${this.path}/${name}`;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}
