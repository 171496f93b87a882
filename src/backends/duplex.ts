/** Chardevs that are nothing but descriptors to read from and write to: `fd` and `pipe`. */
import { asFd, Descriptor, isOpen } from "../native/descriptor.ts";
import { OpenFlags, type OpenPath, read, setNonBlocking, write } from "../native/file.ts";
import { SystemError } from "../native/errors.ts";
import {
  Chardev,
  type ChardevEnvironment,
  ChardevError,
  type NamedDescriptor,
  openAs,
} from "./chardev.ts";
import type { ChardevOptions } from "../configuration/chardev.ts";
import { ByteStream } from "./stream.ts";

/** The two directions, which may be one open file. */
interface Ends {
  readonly input: Descriptor;
  readonly output: Descriptor;
}

class DuplexChardev extends Chardev {
  readonly filename: string;
  readonly #ends: Ends;
  readonly #stream: ByteStream;

  constructor(
    environment: ChardevEnvironment,
    options: ChardevOptions,
    filename: string,
    ends: Ends,
  ) {
    super(environment, options, options.cpr && environment.takesOver());
    this.filename = filename;
    this.#ends = ends;
    const { fd: input } = ends.input;
    const { fd: output } = ends.output;
    this.#stream = new ByteStream(environment.loop, {
      input,
      output,
      read: (buffer) => read(input, buffer),
      write: (bytes) => write(output, bytes),
    }, {
      capacity: () => this.capacity,
      received: (bytes) => this.deliver(bytes),
      ended: () => this.setOpen(false),
      writable: () => this.writableAgain(),
      failed: (fault) => this.fail(fault),
    });
    this.setOpen(true);
  }

  override descriptors(): readonly NamedDescriptor[] {
    const { input, output } = this.#ends;
    const own = [...super.descriptors(), this.named("input", input.fd)];
    if (output !== input) own.push(this.named("output", output.fd));
    return own;
  }

  /** For good: nobody else can come. */
  protected override end(): void {
    this.#stream[Symbol.dispose]();
    this.setOpen(false);
  }

  override interimDescriptors(): readonly NamedDescriptor[] {
    return this.cpr ? this.descriptors() : super.interimDescriptors();
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
    this.#stream[Symbol.dispose]();
    this.#ends.input[Symbol.dispose]();
    this.#ends.output[Symbol.dispose]();
    super[Symbol.dispose]();
  }
}

/** What a predecessor left of a device with these names. */
function adoptEnds(environment: ChardevEnvironment, id: string): Ends | undefined {
  const input = environment.adopt(`chardev/${id}/input`, 0);
  if (input === undefined) return undefined;
  return { input, output: environment.adopt(`chardev/${id}/output`, 0) ?? input };
}

/** The `fd` chardev: an inherited descriptor, read from and written to. It is the chardev's now. */
export function createFdChardev(
  environment: ChardevEnvironment,
  options: ChardevOptions,
  number: number,
): Chardev {
  let ends = adoptEnds(environment, options.id);
  if (ends === undefined) {
    if (!isOpen(number)) throw new ChardevError(`File descriptor '${number}' is not open`);
    const both = new Descriptor(asFd(number));
    ends = { input: both, output: both };
  }
  setNonBlocking(ends.input.fd, true);
  return new DuplexChardev(environment, options, "fd", ends);
}

/**
 * The `pipe` chardev: input from the FIFO PATH.in and output to PATH.out, or both over PATH where
 * those are not there. They are opened for both directions, so that nobody need be at the other end.
 */
export function createPipeChardev(
  environment: ChardevEnvironment,
  options: ChardevOptions,
  path: string,
): Chardev {
  const ends = adoptEnds(environment, options.id) ?? openPipes(environment.openPath, path);
  return new DuplexChardev(environment, options, "pipe", ends);
}

function openPipes(open: OpenPath, path: string): Ends {
  const flags = OpenFlags.readWrite | OpenFlags.nonBlocking;
  let input: Descriptor | undefined;
  try {
    input = open(`${path}.in`, flags);
    return { input, output: open(`${path}.out`, flags) };
  } catch (error) {
    input?.[Symbol.dispose]();
    if (!(error instanceof SystemError)) throw error;
    const both = openAs(open, path, flags);
    return { input: both, output: both };
  }
}
