/**
 * The `stdio` chardev: the process's standard input and output, a terminal in raw mode if it is one.
 *
 * Writing must not block the machine. The descriptor itself is shared with other processes, which
 * expect it to block, so output goes through a second opening of the same terminal or pipe.
 */
import { asFd, Descriptor, type Fd } from "../native/descriptor.ts";
import { SystemError } from "../native/errors.ts";
import { openFile, OpenFlags, read, setNonBlocking, status, write } from "../native/file.ts";
import { isTerminal, makeTerminalRaw, restoreTerminal } from "../native/terminal.ts";
import { Chardev, type ChardevEnvironment, ChardevError, type NamedDescriptor } from "./chardev.ts";
import type { ChardevBackendOptions, ChardevOptions } from "../configuration/chardev.ts";
import { ByteStream } from "./stream.ts";

type StdioOptions = Extract<ChardevBackendOptions, { kind: "stdio" }>;

const STDIN = asFd(0);
const STDOUT = asFd(1);

/** A non-blocking way to `fd`'s terminal, pipe or socket. */
class NonBlockingOutput implements Disposable {
  readonly fd: Fd;
  readonly #opened: Descriptor | undefined;
  readonly #changed: boolean = false;

  constructor(fd: Fd) {
    const { kind } = status(fd);
    if (kind === "character" || kind === "pipe") {
      try {
        const { writeOnly, nonBlocking } = OpenFlags;
        this.#opened = openFile(`/proc/self/fd/${fd}`, writeOnly | nonBlocking);
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
      }
    }
    this.fd = this.#opened?.fd ?? fd;
    if (this.#opened === undefined && kind !== "file") {
      setNonBlocking(fd, true);
      this.#changed = true;
    }
  }

  [Symbol.dispose](): void {
    if (this.#changed) setNonBlocking(this.fd, false);
    this.#opened?.[Symbol.dispose]();
  }
}

export class StdioChardev extends Chardev {
  static #inUse = false;

  readonly filename = "stdio";
  readonly #signals: boolean;
  readonly #output: NonBlockingOutput;
  readonly #stream: ByteStream;

  constructor(environment: ChardevEnvironment, options: ChardevOptions, stdio: StdioOptions) {
    if (StdioChardev.#inUse) {
      throw new ChardevError("cannot use stdio by multiple character devices");
    }
    super(environment, options, options.cpr && environment.takesOver());
    this.#signals = stdio.signal;
    const output = new NonBlockingOutput(STDOUT);
    this.#output = output;
    this.#stream = new ByteStream(environment.loop, {
      input: STDIN,
      output: output.fd,
      read: (buffer) => read(STDIN, buffer),
      write: (bytes) => write(output.fd, bytes),
    }, {
      capacity: () => this.capacity,
      received: (bytes) => this.deliver(bytes),
      ended: () => {},
      writable: () => this.writableAgain(),
      failed: (fault) => this.fail(fault),
    });
    StdioChardev.#inUse = true;
    try {
      this.enterRawMode();
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    this.setOpen(true);
  }

  /** For good: nobody else can come. */
  protected override end(): void {
    this.#stream[Symbol.dispose]();
    this.setOpen(false);
  }

  /** Input stays where it is until the successor reads it. */
  override interimDescriptors(): readonly NamedDescriptor[] {
    return [...super.descriptors(), this.named("file", STDOUT)];
  }

  /** Puts the terminal in raw mode, after {@linkcode leaveRawMode}. */
  enterRawMode(): void {
    if (isTerminal(STDIN)) makeTerminalRaw(STDIN, this.#signals);
  }

  /** Gives the terminal back, as must happen before an execve. */
  leaveRawMode(): void {
    restoreTerminal();
  }

  protected override output(bytes: Uint8Array<ArrayBuffer>): number {
    return this.#stream.write(bytes);
  }

  protected override outputWanted(): void {
    this.#stream.awaitWritable();
  }

  protected override streams(suspended: boolean): void {
    this.#stream.suspend(suspended);
  }

  protected override inputWanted(): void {
    this.#stream.resume();
  }

  override [Symbol.dispose](): void {
    this.leaveRawMode();
    this.#stream[Symbol.dispose]();
    this.#output[Symbol.dispose]();
    StdioChardev.#inUse = false;
    super[Symbol.dispose]();
  }
}
