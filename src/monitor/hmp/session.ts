/**
 * One human monitor, with one user at a time.
 *
 *   closed -> a user comes -> banner, prompt -> a line is typed -> it runs; meanwhile nothing more is
 *   read -> prompt -> ... -> the user leaves -> closed
 *
 * On a multiplexed terminal the monitor prints only while it has the focus; what it has to say
 * before is kept.
 */
import type { Descriptor } from "../../native/descriptor.ts";
import type { CharacterEvent, CharacterFrontend, CharacterPort } from "../../backends/character.ts";
import type { MonitorContext } from "../context.ts";
import { PortWriter } from "../port_writer.ts";
import { decodeBase64, encodeBase64, type SavedHumanSession } from "../saved_session.ts";
import { qemuVersionText } from "../version.ts";
import { Readline } from "./readline.ts";
import { type HumanState, initialState } from "./state.ts";

const PROMPT = "(qemu) ";
/** Bytes read at a time. */
const READ_LIMIT = 4096;

/** What a session needs of its surroundings. */
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
  readonly #descriptors: Descriptor[] = [];
  #state: HumanState = initialState();
  /** Typed, but not looked at because a command runs. */
  #typed: string[] = [];
  #runner: Runner | undefined;
  #running = false;
  #open = false;
  #focused = true;
  #greeted = false;
  #kept = "";
  #saved: SavedHumanSession | undefined;

  /** With `saved`, a user who is there from the beginning goes on with that session. */
  constructor(port: CharacterPort, environment: HumanEnvironment, saved?: SavedHumanSession) {
    this.#port = port;
    this.#environment = environment;
    this.#writer = new PortWriter(port, () => port.acceptInput());
    this.#readline = new Readline(PROMPT, {
      print: (text) => this.#print(text),
      line: (text) => void this.#run(text),
      complete: (text) => this.#runner?.completeHumanLine(text) ?? [],
    });
    this.#saved = saved;
    port.attach(this);
    this.#saved = undefined;
  }

  canReceive(): number {
    return this.#open && !this.#running && this.#writer.pending === 0 ? READ_LIMIT : 0;
  }

  receive(bytes: Uint8Array<ArrayBuffer>): void {
    const descriptors = this.#port.takeDescriptors();
    if (descriptors.length > 0) {
      this.#closeDescriptors();
      this.#descriptors.push(...descriptors);
    }
    this.#typed.push(...this.#decoder.decode(bytes, { stream: true }));
    this.#work();
  }

  event(event: CharacterEvent): void {
    switch (event) {
      case "opened":
        this.#reset();
        this.#open = true;
        if (this.#saved === undefined) this.#greet();
        else this.#resume(this.#saved);
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

  /** What a successor needs to go on with the user; `undefined` if there is none. */
  save(): SavedHumanSession | undefined {
    if (!this.#open) return undefined;
    return {
      kind: "human",
      line: this.#readline.text,
      typed: this.#typed.join(""),
      history: this.#readline.history,
      busy: this.#running,
      output: encodeBase64(this.#writer.unsent),
    };
  }

  /** Resolves when the user has been shown everything, or is gone. */
  async drained(): Promise<void> {
    await this.#writer.drained();
  }

  [Symbol.dispose](): void {
    this.#reset();
    this.#port.detach();
  }

  #reset(): void {
    this.#open = false;
    this.#greeted = false;
    this.#state = initialState();
    this.#typed = [];
    this.#kept = "";
    this.#writer.clear();
    this.#closeDescriptors();
  }

  #resume(saved: SavedHumanSession): void {
    this.#greeted = true;
    this.#writer.writeBytes(decodeBase64(saved.output));
    this.#readline.resume(saved.history, saved.line);
    if (saved.busy) this.#readline.start();
    this.#typed.push(...saved.typed);
    this.#work();
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
    if (this.#runner === undefined) return void this.#load();
    while (!this.#running) {
      const character = this.#typed.shift();
      if (character === undefined) return;
      this.#readline.type(character);
    }
  }

  /** Loads the commands before the first key is looked at. */
  async #load(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    this.#runner = await this.#environment.runner();
    this.#running = false;
    this.#work();
    this.#port.acceptInput();
  }

  async #run(line: string): Promise<void> {
    this.#running = true;
    const state = this.#state;
    await this.#runner?.runHumanLine({
      context: this.#environment.context,
      state,
      print: (text) => {
        if (this.#state === state) this.#print(text);
      },
      takeDescriptor: () => this.#descriptors.shift(),
    }, line);
    this.#running = false;
    // A user who has come meanwhile has been greeted; on return of the focus there is a prompt too.
    if (this.#state === state && this.#open && this.#focused) this.#readline.start();
    this.#work();
    this.#port.acceptInput();
  }

  #closeDescriptors(): void {
    for (const descriptor of this.#descriptors.splice(0)) descriptor[Symbol.dispose]();
  }
}
