/**
 * One human monitor, with one user at a time.
 *
 *   closed -> a user comes -> banner, prompt -> a line is typed -> it runs; meanwhile nothing more is
 *   read -> prompt -> ... -> the user leaves -> closed
 *
 * Over a live update: held (what is typed is kept) -> saved -> restored in the successor, where the
 * user is there already -> as before.
 *
 * On a multiplexed terminal the monitor prints only while it has the focus; what it has to say
 * before is kept.
 */
import { closeAll, type Descriptor, type Fd } from "../../native/descriptor.ts";
import { fromByteString, toByteString } from "../../backends/byte_string.ts";
import type { CharacterEvent, CharacterFrontend, CharacterPort } from "../../backends/character.ts";
import type { MonitorContext } from "../context.ts";
import { contain } from "../../native/event_loop.ts";
import { reportFault } from "../../native/faults.ts";
import { PortWriter } from "../port_writer.ts";
import {
  concatenate,
  type Restored,
  RestoredSession,
  type SavedHumanSession,
  type SavedSession,
} from "../saved_session.ts";
import { qemuVersionText } from "../version.ts";
import { Readline } from "./readline.ts";
import { type HumanState, initialState } from "./state.ts";
import { completeLength } from "./utf8.ts";

const PROMPT = "(qemu) ";
/** Bytes read at a time. */
const READ_LIMIT = 4096;

/** Characters that are kept for after a command. */
const TYPED_LIMIT = 65536;
/** Ctrl-C. */
const INTERRUPT = "\x03";

/** What a session needs of its dependencies. */
export interface HumanEnvironment {
  readonly context: MonitorContext;
  /** Loads the commands: lazily, because that takes time. */
  readonly runner: () => Promise<Runner>;
}

type Runner = typeof import("./runner.ts");

/** A human monitor on a character device. */
export class HumanSession implements CharacterFrontend, Disposable {
  readonly #port: CharacterPort;
  readonly #environment: HumanEnvironment;
  readonly #writer: PortWriter;
  readonly #readline: Readline;
  readonly #decoder = new TextDecoder();
  /** The first bytes of a character. */
  #partial: Uint8Array = new Uint8Array(0);
  readonly #descriptors: Descriptor[] = [];
  #state: HumanState = initialState();
  /** Typed, but not looked at because a command runs. */
  #typed: string[] = [];
  #runner: Runner | undefined;
  #loading = false;
  /** The line that is being run. */
  #running: string | undefined;
  /** It waits for something that a live update does not wait for. */
  #suspended = false;
  /** What Ctrl-C does meanwhile. */
  #interrupted: (() => void) | undefined;
  #held = false;
  #settling: (() => void)[] = [];
  #open = false;
  #focused = true;
  #greeted = false;
  #kept = "";
  readonly #restored = new RestoredSession("human");

  constructor(port: CharacterPort, environment: HumanEnvironment) {
    this.#port = port;
    this.#environment = environment;
    this.#writer = new PortWriter(port, () => port.acceptInput());
    this.#readline = new Readline(PROMPT, {
      print: (text) => this.#print(text),
      line: (text) => void this.#run(text).catch((fault) => this.#fail(fault)),
      complete: (text) => this.#runner?.completeHumanLine(text) ?? [],
    });
    port.attach(this);
  }

  canReceive(): number {
    // Ctrl-C ends a wait; what else is typed stays for later, if it is not too much.
    const waits = this.#interrupted !== undefined && this.#typed.length < TYPED_LIMIT;
    const busy = this.#running !== undefined && !waits || this.#loading;
    return this.#open && !busy && this.#writer.pending === 0 ? READ_LIMIT : 0;
  }

  receive(bytes: Uint8Array<ArrayBuffer>): void {
    const descriptors = this.#port.takeDescriptors();
    if (descriptors.length > 0) {
      this.#closeDescriptors();
      this.#descriptors.push(...descriptors);
    }
    const all = concatenate([this.#partial, bytes]);
    const complete = completeLength(all);
    this.#partial = all.subarray(complete);
    for (const character of this.#decoder.decode(all.subarray(0, complete))) {
      if (character === INTERRUPT && this.#interrupted !== undefined) this.#interrupted();
      else this.#typed.push(character);
    }
    contain(() => this.#work(), (fault) => this.#fail(fault));
  }

  event(event: CharacterEvent): void {
    contain(() => this.#connectionChanged(event), (fault) => this.#fail(fault));
  }

  #connectionChanged(event: CharacterEvent): void {
    switch (event) {
      case "opened":
        this.#reset();
        this.#open = true;
        this.#begin(this.#restored.take());
        break;
      case "closed":
        this.#reset();
        break;
      case "mux-in":
        this.#focused = true;
        this.#writer.write(this.#kept);
        this.#kept = "";
        this.#greet();
        break;
      case "mux-out":
        this.#focused = false;
        break;
      case "break":
        break;
    }
  }

  /** Begins nothing more: what is typed is kept. */
  hold(): void {
    this.#held = true;
  }

  /** Goes on after {@linkcode hold}. */
  release(): void {
    this.#held = false;
    this.#work();
  }

  /** The command that is being run and would be lost with this process. */
  get busyWith(): string | undefined {
    return this.#suspended ? undefined : this.#running;
  }

  /** Resolves when there is no such command. */
  async settled(): Promise<void> {
    while (this.busyWith !== undefined) {
      await new Promise<void>((resolve) => this.#settling.push(resolve));
    }
  }

  /** What a successor needs to go on with the user; `undefined` if there is none. */
  save(): SavedHumanSession | undefined {
    if (!this.#open) return undefined;
    return {
      kind: "human",
      line: this.#readline.save(),
      typed: this.#typed.join(""),
      partial: toByteString(this.#partial),
      busy: this.#running !== undefined,
      cpu: this.#state.cpu,
      descriptors: this.#descriptors.length,
      kept: this.#kept,
      output: toByteString(this.#writer.unsent),
    };
  }

  /** The descriptors that belong to what {@linkcode save} returns. */
  descriptors(): readonly Fd[] {
    return this.#descriptors.map(({ fd }) => fd);
  }

  /** A user who is there next has been a predecessor's. */
  restore(saved: SavedSession, descriptors: readonly Descriptor[]): void {
    this.#restored.put(saved, descriptors);
  }

  /** Nobody was there: the next user is a new one. */
  forget(): void {
    this.#restored[Symbol.dispose]();
  }

  /** Resolves when the user has been shown everything, or is gone. */
  async drained(): Promise<void> {
    await this.#writer.drained();
  }

  [Symbol.dispose](): void {
    this.forget();
    this.#reset();
    this.#port.detach();
  }

  /** What was done for the user has failed: the session begins anew. */
  #fail(fault: unknown): void {
    reportFault(fault, `monitor '${this.#port.id}'`);
    const open = this.#open;
    this.#reset();
    this.#running = undefined;
    this.#notifySettled();
    this.#open = open;
    this.#greet();
    this.#port.acceptInput();
  }

  #reset(): void {
    this.#open = false;
    this.#greeted = false;
    this.#state = initialState();
    this.#typed = [];
    this.#partial = new Uint8Array(0);
    this.#kept = "";
    this.#writer.clear();
    this.#closeDescriptors();
  }

  #begin(restored: Restored<SavedHumanSession> | undefined): void {
    if (restored === undefined) this.#greet();
    else this.#resume(restored);
  }

  #resume({ saved, descriptors }: Restored<SavedHumanSession>): void {
    this.#greeted = true;
    this.#state = { ...initialState(), cpu: saved.cpu };
    this.#descriptors.push(...descriptors);
    this.#writer.writeBytes(fromByteString(saved.output));
    this.#kept = saved.kept;
    this.#readline.restore(saved.line);
    if (saved.busy) this.#readline.start();
    this.#partial = fromByteString(saved.partial);
    this.#typed.push(...saved.typed);
    this.#work();
    this.#port.acceptInput();
  }

  /** The banner once, and the prompt. */
  #greet(): void {
    if (!this.#open || !this.#focused) return;
    if (!this.#greeted) {
      this.#print(`QEMU ${qemuVersionText} monitor - type 'help' for more information\n`);
    }
    if (this.#greeted) this.#readline.redraw();
    else this.#readline.start();
    this.#greeted = true;
  }

  #print(text: string): void {
    const lines = text.replaceAll("\n", "\r\n");
    if (this.#focused) this.#writer.write(lines);
    else this.#kept += lines;
  }

  #work(): void {
    while (this.#running === undefined && !this.#held && this.#typed.length > 0) {
      if (this.#runner === undefined) {
        this.#load().catch((fault) => this.#fail(fault));
        return;
      }
      this.#readline.type(this.#typed.shift() ?? "");
    }
  }

  /** Loads the commands before the first key is looked at. */
  async #load(): Promise<void> {
    if (this.#loading) return;
    this.#loading = true;
    try {
      this.#runner = await this.#environment.runner();
    } finally {
      this.#loading = false;
    }
    this.#work();
    this.#port.acceptInput();
  }

  async #run(line: string): Promise<void> {
    this.#running = line;
    const state = this.#state;
    await this.#runner?.runHumanLine({
      context: this.#environment.context,
      state,
      print: (text) => {
        if (this.#state === state) this.#print(text);
      },
      takeDescriptor: () => this.#descriptors.shift(),
      suspend: (until, interrupted) => this.#suspend(until, interrupted),
    }, line);
    this.#running = undefined;
    this.#notifySettled();
    // A user who has come meanwhile has been greeted; on return of the focus there is a prompt too.
    if (this.#state === state && this.#open && this.#focused) this.#readline.start();
    this.#work();
    this.#port.acceptInput();
  }

  async #suspend(until: Promise<void>, interrupted: () => void): Promise<void> {
    this.#suspended = true;
    this.#interrupted = interrupted;
    this.#notifySettled();
    this.#port.acceptInput();
    try {
      await until;
    } finally {
      this.#suspended = false;
      this.#interrupted = undefined;
    }
  }

  #notifySettled(): void {
    for (const resolve of this.#settling.splice(0)) resolve();
  }

  #closeDescriptors(): void {
    closeAll(this.#descriptors.splice(0));
  }
}
