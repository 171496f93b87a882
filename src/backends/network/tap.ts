/** Tap interfaces of the host: opened by name, or given as descriptors; one descriptor a queue pair. */
import { asFd, Descriptor, type Fd } from "../../native/descriptor.ts";
import { isOpen } from "../../native/descriptor.ts";
import type { NetworkPort } from "../../native/network.ts";
import { awaitChild, spawn } from "../../native/process.ts";
import { tapHasHeaders, TapOffload, TapQueue } from "../../native/tap.ts";
import type { TapConfig } from "../../cli/config.ts";
import { keptName, type NetworkAbilities, type NetworkBackend } from "./backend.ts";

/** What a tap backend needs from outside. */
export interface TapEnvironment {
  /** A descriptor that the process before this one handed over. */
  readonly adopt: (name: string, id: number) => Descriptor | undefined;
  /** Takes messages for the user. */
  readonly tell: (message: string) => void;
}

/** A tap interface. */
export class TapBackend implements NetworkBackend {
  readonly id: string;
  readonly adopted: boolean;
  readonly abilities: NetworkAbilities;
  readonly #queues: readonly TapQueue[];
  readonly #downScript: string | undefined;
  readonly #tell: (message: string) => void;

  private constructor(
    id: string,
    queues: readonly TapQueue[],
    adopted: boolean,
    downScript: string | undefined,
    tell: (message: string) => void,
  ) {
    this.id = id;
    this.adopted = adopted;
    this.#queues = queues;
    this.#downScript = downScript;
    this.#tell = tell;
    const [first] = queues;
    const header = queues.every(({ hasHeader }) => hasHeader);
    this.abilities = {
      header,
      ufo: header && (first?.offload(TapOffload.checksum | TapOffload.ufo) ?? false),
      uso: header &&
        (first?.offload(TapOffload.checksum | TapOffload.uso4 | TapOffload.uso6) ?? false),
    };
    if (!adopted) this.setOffload(0);
  }

  /** Opens the interface, or takes it over from the process before this one. */
  static async open(
    id: string,
    config: TapConfig,
    { adopt, tell }: TapEnvironment,
  ): Promise<TapBackend> {
    using undo = new DisposableStack();
    const { source } = config;
    const downScript = source.kind === "interface" ? source.downscript : undefined;
    const kept = adoptAll(id, adopt).map((descriptor) => undo.use(new TapQueue(descriptor)));
    if (kept.length > 0) {
      undo.move();
      return new TapBackend(id, kept, true, downScript, tell);
    }
    const queues = source.kind === "descriptors"
      ? source.names.map((name) => undo.use(givenQueue(name, id)))
      : openInterface(config, source, undo);
    for (const queue of queues) queue.sendBuffer = config.sendBuffer ?? 0x7fffffff;
    if (source.kind === "interface" && source.script !== undefined) {
      await runScript(source.script, queues[0]?.name ?? "", id);
    }
    undo.move();
    return new TapBackend(id, queues, false, downScript, tell);
  }

  get pairs(): number {
    return this.#queues.length;
  }

  get description(): string {
    const [first] = this.#queues;
    return `type=tap,ifname=${first?.name}`;
  }

  port(pair: number): NetworkPort {
    const queue = this.#queues[pair];
    return queue ? { kind: "tap", fd: queue.fd } : { kind: "none" };
  }

  set portChanged(_listener: (pair: number) => void) {}

  lost(): void {
    this.#tell(`-netdev tap,id=${this.id}: the interface has gone`);
  }

  setHeaderSize(size: number): void {
    if (!this.abilities.header) return;
    for (const queue of this.#queues) queue.headerSize = size;
  }

  setOffload(bits: number): void {
    if (!this.abilities.header) return;
    // The interface's offloads are those of any of its queues.
    for (const queue of this.#queues) queue.offload(bits);
  }

  setActivePairs(pairs: number): void {
    if (this.#queues.length === 1) return;
    this.#queues.forEach((queue, index) => queue.attached = index < pairs);
  }

  descriptors(): { name: string; id: number; fd: Fd }[] {
    return this.#queues.map(({ fd }, index) => ({ name: keptName(this.id), id: index, fd }));
  }

  [Symbol.dispose](): void {
    const name = this.#queues[0]?.name ?? "";
    for (const queue of this.#queues) queue[Symbol.dispose]();
    if (this.#downScript !== undefined) spawn([this.#downScript, name]);
  }
}

function adoptAll(id: string, adopt: TapEnvironment["adopt"]): Descriptor[] {
  const descriptors: Descriptor[] = [];
  for (;;) {
    const next = adopt(keptName(id), descriptors.length);
    if (next === undefined) return descriptors;
    descriptors.push(next);
  }
}

/** A descriptor that this process was started with. */
function givenQueue(name: string, id: string): TapQueue {
  const number = Number(name);
  if (!isOpen(number)) {
    throw new Error(`-netdev tap,id=${id}: descriptor ${name} is not open`);
  }
  return new TapQueue(new Descriptor(asFd(number)));
}

function openInterface(
  { vnetHeader }: TapConfig,
  source: TapConfig["source"] & { kind: "interface" },
  owner: DisposableStack,
): TapQueue[] {
  const possible = vnetHeader !== "off" && tapHasHeaders();
  if (vnetHeader === "on" && !possible) {
    throw new Error("vnet_hdr=1 requested, but no kernel support for IFF_VNET_HDR available");
  }
  const options = { header: possible, multiqueue: source.queues > 1 };
  const first = owner.use(TapQueue.open(source.name ?? "", options));
  // The kernel may have chosen the name.
  const others = Array.from(
    { length: source.queues - 1 },
    () => owner.use(TapQueue.open(first.name, options)),
  );
  return [first, ...others];
}

async function runScript(script: string, name: string, id: string): Promise<void> {
  const status = await awaitChild(spawn([script, name]));
  if (status.kind === "exited" && status.status === 0) return;
  const outcome = status.kind === "exited" ? `status ${status.status}` : `signal ${status.signal}`;
  throw new Error(`-netdev tap,id=${id}: network script ${script} failed with ${outcome}`);
}
