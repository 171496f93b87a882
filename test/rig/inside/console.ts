/** A shell on a guest's serial console. */

/** What the console did not say in time, with what it said instead. */
export class ConsoleError extends Error {
  override readonly name = "ConsoleError";
}

/** The guest did not go on: it began anew, or its kernel gave up. */
export class GuestLostError extends Error {
  override readonly name = "GuestLostError";
}

/** What the guest's shell says when it starts (test/rig/guest/console). */
const SHELL_STARTS = "rig: ready";
/** What a guest says that does not go on. */
const loss = new RegExp(`^${SHELL_STARTS}$|Kernel panic`, "m");
/** Characters before it that are shown. */
const SHOWN_BEFORE_LOSS = 3000;

/** The result of a command. */
export interface CommandResult {
  readonly status: number;
  /** Its standard output, without the last line's end. */
  readonly text: string;
}

const MILLISECONDS = 1000;
/** How long a command may take, in seconds, where the whole machine is emulated. */
const PATIENCE = 120;

/**
 * The other end of a guest's serial port, which is a unix socket. The socket may end and come again
 * when the process behind it is replaced: see `attach`.
 */
export class GuestConsole implements Disposable {
  #connection: Deno.UnixConn | undefined;
  #text = "";
  #read = 0;
  #commands = 0;
  #wake = Promise.withResolvers<void>();

  /** All that the guest has written. */
  get text(): string {
    return this.#text;
  }

  /** Connects to the socket of the process that runs the guest now. */
  async attach(path: string): Promise<void> {
    this.#connection?.close();
    const connection = await Deno.connect({ transport: "unix", path });
    this.#connection = connection;
    void this.#receive(connection);
  }

  /** Runs a command in the guest's shell. */
  async run(command: string, seconds = PATIENCE): Promise<CommandResult> {
    if (this.#connection === undefined) throw new ConsoleError("not connected");
    const tag = `@${++this.#commands}`;
    await this.#connection.write(new TextEncoder().encode(`${command}; echo "${tag} $?"\n`));
    const match = await this.waitFor(new RegExp(`^${tag} (\\d+)$`, "m"), seconds, loss);
    const text = match.before.replace(/\n$/, "");
    return { status: Number(match.found[1]), text };
  }

  /** Waits for the shell after a start that was asked for. */
  async awaitShell(seconds: number): Promise<void> {
    await this.waitFor(new RegExp(`^${SHELL_STARTS}$`, "m"), seconds);
  }

  /**
   * Waits until the guest writes what `pattern` describes. Returns what was new before it. Throws at
   * once if it writes what `unexpected` describes.
   */
  async waitFor(
    pattern: RegExp,
    seconds: number,
    unexpected?: RegExp,
  ): Promise<{ readonly before: string; readonly found: RegExpMatchArray }> {
    const deadline = AbortSignal.timeout(seconds * MILLISECONDS);
    const expired = Promise.withResolvers<void>();
    deadline.addEventListener("abort", () => expired.resolve());
    for (;;) {
      const rest = this.#text.slice(this.#read);
      const found = rest.match(pattern);
      if (found?.index !== undefined) {
        // Past the line's end, which comes with it.
        const end = rest.indexOf("\n", found.index + found[0].length);
        if (end >= 0) {
          this.#read += end + 1;
          return { before: rest.slice(0, found.index), found };
        }
      }
      const lost = unexpected && rest.match(unexpected);
      if (lost) {
        const end = this.#read + (lost.index ?? 0) + lost[0].length;
        this.#read = end;
        throw new GuestLostError(
          `the guest did not go on: it wrote '${lost[0]}', and before that: ` +
            this.#text.slice(0, end).slice(-SHOWN_BEFORE_LOSS),
        );
      }
      if (deadline.aborted) {
        throw new ConsoleError(
          `the guest did not write ${pattern} within ${seconds} s, but: ${rest.slice(-1000)}`,
        );
      }
      await Promise.race([this.#wake.promise, expired.promise]);
    }
  }

  async #receive(connection: Deno.UnixConn): Promise<void> {
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(4096);
    try {
      for (;;) {
        const count = await connection.read(buffer);
        if (count === null) break;
        const text = decoder.decode(buffer.subarray(0, count), { stream: true });
        this.#text += text.replaceAll("\r", "");
        this.#wake.resolve();
        this.#wake = Promise.withResolvers();
      }
    } catch {
      // The process behind the socket has ended, or this side has closed it.
    }
  }

  [Symbol.dispose](): void {
    this.#connection?.close();
    this.#connection = undefined;
  }
}
