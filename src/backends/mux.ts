/**
 * The `mux` chardev: several frontends share one device, a terminal say. Output of all of them goes
 * to it; input goes to the one in focus. Ctrl-a and a key commands the multiplexer:
 *
 *   plain -> Ctrl-a -> command -> any key -> plain
 */
import type { CharacterEvent, CharacterFrontend, CharacterPort } from "./character.ts";
import { fromByteString, toByteString } from "./byte_string.ts";
import { Chardev, type ChardevEnvironment, type ChardevState } from "./chardev.ts";
import type { ChardevOptions } from "../configuration/chardev.ts";
import { encodeText } from "./text.ts";

const ESCAPE = 0x01; // Ctrl-a
const NEWLINE = 0x0a;
/** Bytes of input kept for a frontend that does not take it, so that commands are still seen. */
const INPUT_LIMIT = 1024;

const helpText = [
  "",
  "C-a h    print this help",
  "C-a x    exit emulator",
  "C-a s    save disk data back to file (if -snapshot)",
  "C-a t    toggle console timestamps",
  "C-a b    send break (magic sysrq)",
  "C-a c    switch between console and monitor",
  "C-a C-a  sends C-a",
  "",
].join("\n\r");

/** What a {@linkcode MuxPort} needs of its multiplexer. */
interface Multiplexer {
  isOpen(): boolean;
  attached(port: MuxPort): void;
  detached(port: MuxPort): void;
  write(bytes: Uint8Array<ArrayBuffer>, onWritable?: () => void): number;
  roomForInput(): void;
}

/** A frontend's place at a multiplexer. */
class MuxPort implements CharacterPort {
  readonly id: string;
  readonly #mux: Multiplexer;
  readonly #input: number[] = [];
  frontend: CharacterFrontend | undefined;

  constructor(id: string, mux: Multiplexer) {
    this.id = id;
    this.#mux = mux;
  }

  attach(frontend: CharacterFrontend): void {
    this.frontend = frontend;
    if (this.#mux.isOpen()) frontend.event("opened");
    this.#mux.attached(this);
  }

  detach(): void {
    this.frontend = undefined;
    this.#mux.detached(this);
  }

  write(bytes: Uint8Array<ArrayBuffer>, onWritable?: () => void): number {
    return this.#mux.write(bytes, onWritable);
  }

  acceptInput(): void {
    this.deliver();
    this.#mux.roomForInput();
  }

  takeDescriptors(): [] {
    return [];
  }

  /** The other end is not this frontend's alone. */
  disconnect(): void {}

  [Symbol.dispose](): void {
    this.detach();
  }

  /** How much more input can be kept. */
  get room(): number {
    return INPUT_LIMIT - this.#input.length;
  }

  /** Keeps a byte of input for {@linkcode deliver}. */
  push(byte: number): void {
    if (this.room > 0) this.#input.push(byte);
  }

  /** Input that the frontend has not taken. */
  get input(): Uint8Array {
    return Uint8Array.from(this.#input);
  }

  /** Hands over as much of the input as the frontend takes. */
  deliver(): void {
    while (this.#input.length > 0) {
      const count = Math.min(this.frontend?.canReceive() ?? 0, this.#input.length);
      if (count === 0) return;
      this.frontend?.receive(Uint8Array.from(this.#input.splice(0, count)));
    }
  }
}

/** Shares a base device among the frontends of its ports. */
export class MuxChardev extends Chardev {
  readonly filename = "mux";
  readonly #environment: ChardevEnvironment;
  /** The device that is shared. */
  readonly base: Chardev;
  readonly #ports: MuxPort[] = [];
  #focus: MuxPort | undefined;
  /** Frontends are notified that the device is open: not while they are still being attached. */
  #started: boolean;
  #escaped = false;
  /** Milliseconds of the epoch from which output lines are stamped, if they are. */
  #stampsSince: number | undefined;
  #atLineStart = true;
  #stamp = new Uint8Array(0);

  /** With `started` false, frontends hear nothing of the device until {@linkcode start}. */
  constructor(
    environment: ChardevEnvironment,
    options: ChardevOptions,
    base: Chardev,
    started: boolean,
  ) {
    // Whether the other end survives a live update is a property of the device under this one.
    super(environment, { ...options, cpr: base.cpr });
    this.#environment = environment;
    this.base = base;
    this.#started = started;
    base.attach({
      canReceive: () => Math.max(0, this.#focus?.room ?? 1),
      receive: (bytes) => this.#receive(bytes),
      event: (event) => this.#forward(event),
    });
  }

  /** All frontends of the beginning are there: they hear that the device is open, if it is. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    if (this.base.open) this.#forward("opened");
  }

  /** A place for another frontend. The one that attaches first gets the focus. */
  port(): CharacterPort {
    return new MuxPort(this.id, {
      isOpen: () => this.open,
      attached: (port) => this.#attached(port),
      detached: (port) => this.#detached(port),
      write: (bytes, onWritable) => this.write(bytes, onWritable),
      roomForInput: () => this.base.acceptInput(),
    });
  }

  override save(): ChardevState {
    return {
      focus: this.#focus === undefined ? -1 : this.#ports.indexOf(this.#focus),
      inputs: this.#ports.map(({ input }) => toByteString(input)),
      escaped: this.#escaped,
      stampsSince: this.#stampsSince ?? null,
      atLineStart: this.#atLineStart,
      stamp: toByteString(this.#stamp),
    };
  }

  override restore(state: ChardevState | undefined): void {
    if (state === undefined) return;
    const { focus, inputs, stampsSince, stamp } = state;
    this.#escaped = state["escaped"] === true;
    this.#stampsSince = typeof stampsSince === "number" ? stampsSince : undefined;
    this.#atLineStart = state["atLineStart"] !== false;
    if (typeof stamp === "string") this.#stamp = fromByteString(stamp);
    if (Array.isArray(inputs)) {
      for (const [index, port] of this.#ports.entries()) {
        const input: unknown = inputs[index];
        if (typeof input === "string") {
          for (const byte of fromByteString(input)) port.push(byte);
        }
      }
    }
    const focused = typeof focus === "number" ? this.#ports[focus] : undefined;
    if (focused !== undefined) this.#setFocus(focused);
  }

  /** The device under this one has begun, and the frontends know it. */
  override begin(): void {
    for (const port of this.#ports) port.deliver();
    this.base.acceptInput();
  }

  override get frontendOpen(): boolean {
    return this.#ports.length > 0;
  }

  protected override output(bytes: Uint8Array<ArrayBuffer>): number {
    const onWritable = () => this.writableAgain();
    if (this.#stampsSince === undefined) return this.base.write(bytes, onWritable);
    let done = 0;
    while (done < bytes.length) {
      if (this.#atLineStart && !this.#writeStamp(onWritable)) return done;
      const newline = bytes.indexOf(NEWLINE, done);
      const line = bytes.subarray(done, newline < 0 ? bytes.length : newline + 1);
      const taken = this.base.write(line, onWritable);
      done += taken;
      if (taken < line.length) return done;
      this.#atLineStart = newline >= 0;
    }
    return done;
  }

  override [Symbol.dispose](): void {
    this.base.detach();
    super[Symbol.dispose]();
  }

  #attached(port: MuxPort): void {
    this.#ports.push(port);
    if (this.#focus === undefined) this.#setFocus(port);
    else port.frontend?.event("mux-out");
    this.base.acceptInput();
  }

  #detached(port: MuxPort): void {
    const index = this.#ports.indexOf(port);
    if (index < 0) return;
    this.#ports.splice(index, 1);
    if (this.#focus === port) this.#setFocus(this.#ports.at(-1));
  }

  #setFocus(port: MuxPort | undefined): void {
    if (port === this.#focus) return;
    this.#focus?.frontend?.event("mux-out");
    this.#focus = port;
    port?.frontend?.event("mux-in");
  }

  #forward(event: CharacterEvent): void {
    if (!this.#started) return;
    if (event === "break") return this.#focus?.frontend?.event("break");
    this.setOpen(event === "opened");
    for (const port of this.#ports) port.frontend?.event(event);
  }

  #receive(bytes: Uint8Array<ArrayBuffer>): void {
    for (const byte of bytes) {
      if (this.#escaped) {
        this.#escaped = false;
        this.#command(byte);
      } else if (byte === ESCAPE) {
        this.#escaped = true;
      } else {
        this.#focus?.push(byte);
      }
    }
    this.#focus?.deliver();
  }

  #command(key: number): void {
    switch (String.fromCharCode(key)) {
      case "h":
      case "?":
        this.base.write(encodeText(helpText));
        break;
      case "x":
        this.base.write(encodeText("QEMU: Terminated\n\r"));
        this.#environment.quit();
        break;
      case "s":
        this.#environment.commitDisks();
        break;
      case "b":
        this.#focus?.frontend?.event("break");
        break;
      case "c":
        this.#focus?.deliver();
        this.#setFocus(this.#next());
        break;
      case "t":
        this.#stampsSince = this.#stampsSince === undefined ? Date.now() : undefined;
        break;
      case "\x01":
        this.#focus?.push(ESCAPE);
        break;
    }
  }

  #next(): MuxPort | undefined {
    const index = this.#focus === undefined ? -1 : this.#ports.indexOf(this.#focus);
    return this.#ports[(index + 1) % this.#ports.length];
  }

  /** Writes the time before a line; false if the device did not take all of it. */
  #writeStamp(onWritable: () => void): boolean {
    if (this.#stamp.length === 0) {
      const ms = Date.now() - (this.#stampsSince ?? Date.now());
      const clock = new Date(ms).toISOString().slice(11, 23);
      this.#stamp = encodeText(`[${clock}] `);
    }
    const taken = this.base.write(this.#stamp, onWritable);
    this.#stamp = this.#stamp.slice(taken);
    return this.#stamp.length === 0;
  }
}
