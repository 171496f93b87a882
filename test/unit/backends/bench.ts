/** What chardev tests share: a running loop, a registry, and frontends that record. */
import { DescriptorStore } from "../../../src/backends/descriptor_store.ts";
import { Chardevs } from "../../../src/backends/chardevs.ts";
import { chardevFromProperties } from "../../../src/backends/chardev_options.ts";
import type {
  CharacterBackend,
  CharacterEvent,
  CharacterFrontend,
} from "../../../src/backends/character.ts";
import type { Chardev } from "../../../src/backends/chardev.ts";
import { encodeText } from "../../../src/backends/text.ts";
import { type Descriptor, duplicate } from "../../../src/native/descriptor.ts";
import { EventLoop } from "../../../src/native/event_loop.ts";

const decoder = new TextDecoder();

export function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return encodeText(text);
}

/** Waits until `condition` holds; fails the test if that takes half a minute. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`Waited in vain for ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** A frontend that keeps what comes. */
export class Recorder implements CharacterFrontend {
  text = "";
  readonly events: CharacterEvent[] = [];
  /** How many bytes it takes: set it, and call acceptInput when it grows. */
  capacity = Infinity;

  canReceive(): number {
    return this.capacity;
  }

  receive(bytes: Uint8Array<ArrayBuffer>): void {
    this.capacity -= bytes.length;
    this.text += decoder.decode(bytes);
  }

  event(event: CharacterEvent): void {
    this.events.push(event);
  }
}

/** Attaches a new recorder. */
export function record(backend: CharacterBackend): Recorder {
  const recorder = new Recorder();
  backend.attach(recorder);
  return recorder;
}

/** A loop that runs, and chardevs on it, until disposed. */
export class Bench implements AsyncDisposable {
  readonly loop = new EventLoop();
  readonly #running = this.loop.run();
  readonly directory = Deno.makeTempDirSync();
  readonly reported: string[] = [];
  readonly quits: string[] = [];
  /** What a predecessor left, by name and id: `chardev/a/pty 0`. */
  readonly left = new Map<string, Descriptor>();
  readonly named = new Map<string, Descriptor>();
  /** Sets that /dev/fdset/N stands for. */
  readonly descriptors = new DescriptorStore();
  readonly adopt = (name: string, id: number) => take(this.left, `${name} ${id}`);
  readonly chardevs: Chardevs;

  /**
   * With `started` false, multiplexers wait for `chardevs.start()`. With `takesOver`, devices that survive
   * live updates wait for `chardevs.begin()`.
   */
  constructor({ started = true, takesOver = false } = {}) {
    this.chardevs = new Chardevs({
      loop: this.loop,
      takesOver: () => takesOver,
      adopt: this.adopt,
      takeNamedDescriptor: (name) => take(this.named, name),
      openPath: this.descriptors.openPath,
      report: (line) => this.reported.push(line),
      announce: (line: string) => this.reported.push(line),
      quit: () => this.quits.push("quit"),
      commitDisks: () => this.quits.push("commit"),
    });
    if (started) this.chardevs.start();
  }

  path(name: string): string {
    return `${this.directory}/${name}`;
  }

  /** Makes a chardev of properties: `{ backend: "file", path: ... }`, with the id `test` by default. */
  create(properties: Record<string, string>): Promise<Chardev> {
    return this.chardevs.create(
      chardevFromProperties(new Map(Object.entries({ id: "test", ...properties }))),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.chardevs[Symbol.dispose]();
    this.descriptors[Symbol.dispose]();
    this.loop.stop();
    await this.#running;
    this.loop[Symbol.dispose]();
    Deno.removeSync(this.directory, { recursive: true });
  }
}

/** Hands all that `before` wants to keep to `after`, as a live update does. */
export function handOver(before: Bench, after: Bench): void {
  for (const { name, id, fd } of before.chardevs.descriptors()) {
    after.left.set(`${name} ${id}`, duplicate(fd));
  }
}

/** The guest is the successor's now: its devices go on where those of `before` stopped. */
export function goOn(before: Bench, after: Bench): void {
  const saved: unknown = JSON.parse(JSON.stringify(before.chardevs.save()));
  before.chardevs.giveAway();
  after.chardevs.restore(saved);
  after.chardevs.begin();
}

function take(from: Map<string, Descriptor>, name: string): Descriptor | undefined {
  const found = from.get(name);
  from.delete(name);
  return found;
}

/** Numbers of this process's open descriptors. */
export function openDescriptors(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}
