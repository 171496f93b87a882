/** The `file` chardev: output to a file, input from another one if there is any. */
import type { Descriptor } from "../native/descriptor.ts";
import { OpenFlags, read, write } from "../native/file.ts";
import {
  Chardev,
  type ChardevEnvironment,
  hasReader,
  type NamedDescriptor,
  openAs,
  OutputFile,
  outputFlags,
} from "./chardev.ts";
import type { ChardevBackendOptions, ChardevOptions } from "../configuration/chardev.ts";
import { ByteStream } from "./stream.ts";

type FileOptions = Extract<ChardevBackendOptions, { kind: "file" }>;

/** Output is in the file when {@linkcode write} returns; a pipe takes what its reader has left room for. */
export class FileChardev extends Chardev {
  readonly filename = "file";
  readonly #output: OutputFile;
  readonly #input: Descriptor | undefined;
  readonly #stream: ByteStream | undefined;
  /** The output is a pipe. */
  readonly #readByOthers: boolean;

  constructor(environment: ChardevEnvironment, options: ChardevOptions, file: FileOptions) {
    super(environment, options, options.cpr && environment.takesOver());
    const { readOnly, nonBlocking } = OpenFlags;
    const input = file.inputPath === undefined
      ? undefined
      : environment.adopt(`chardev/${this.id}/input`, 0) ??
        openAs(environment.openPath, file.inputPath, readOnly | nonBlocking);
    try {
      const output = environment.adopt(`chardev/${this.id}/file`, 0) ??
        openAs(environment.openPath, file.path, outputFlags(file.append));
      this.#output = new OutputFile(environment, file.path, output);
    } catch (error) {
      input?.[Symbol.dispose]();
      throw error;
    }
    this.#input = input;
    const { fd: output } = this.#output;
    this.#readByOthers = hasReader(output);
    if (input !== undefined || this.#readByOthers) {
      this.#stream = new ByteStream(environment.loop, {
        input: input?.fd,
        output: this.#readByOthers ? output : undefined,
        read: (buffer) => input === undefined ? 0 : read(input.fd, buffer),
        write: (bytes) => write(output, bytes),
      }, {
        capacity: () => this.capacity,
        received: (bytes) => this.deliver(bytes),
        ended: () => {},
        writable: () => this.writableAgain(),
        failed: (fault) => this.fail(fault),
      });
    }
    this.setOpen(true);
  }

  /** There is no more input; output to a file goes on. */
  protected override end(): void {
    this.#stream?.[Symbol.dispose]();
  }

  override descriptors(): readonly NamedDescriptor[] {
    const own = [...super.descriptors(), this.named("file", this.#output.fd)];
    if (this.#input !== undefined) own.push(this.named("input", this.#input.fd));
    return own;
  }

  override interimDescriptors(): readonly NamedDescriptor[] {
    return this.descriptors();
  }

  protected override output(bytes: Uint8Array<ArrayBuffer>): number {
    if (this.#readByOthers && this.#stream !== undefined) return this.#stream.write(bytes);
    this.#output.write(bytes);
    return bytes.length;
  }

  protected override outputWanted(): void {
    this.#stream?.awaitWritable();
  }

  protected override streams(suspended: boolean): void {
    this.#stream?.suspend(suspended);
  }

  protected override inputWanted(): void {
    this.#stream?.resume();
  }

  override [Symbol.dispose](): void {
    this.#stream?.[Symbol.dispose]();
    this.#input?.[Symbol.dispose]();
    this.#output[Symbol.dispose]();
    super[Symbol.dispose]();
  }
}
