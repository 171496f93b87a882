/** Machines in this process that files are loaded into, as -incoming does: one after the other. */
import { parseCommandLine } from "../../src/cli/parse.ts";
import type { CapabilityName } from "../../src/migration/capabilities.ts";
import { Timeline } from "../../src/migration/cpr/timeline.ts";
import { EventLoop } from "../../src/native/event_loop.ts";
import { VirtualMachine } from "../../src/virtual_machine.ts";

const POLL_INTERVAL = 1;
/** A load that takes so long, in ms, hangs. */
const LONGEST = 30_000;

/** Loads files into machines of one kind. A machine is used until it has a guest. */
export class Loader implements AsyncDisposable {
  readonly #options: readonly string[];
  readonly #capabilities: readonly CapabilityName[];
  readonly #loop = new EventLoop();
  readonly #served = this.#loop.run();
  #vm: VirtualMachine | undefined;
  #timeline: Timeline | undefined;

  /** `options`: the machine's. */
  constructor(options: readonly string[], ...capabilities: CapabilityName[]) {
    this.#options = options;
    this.#capabilities = capabilities;
  }

  /** Loads a file. Returns why that failed, or `undefined` if the machine has a guest now. */
  async load(path: string): Promise<string | undefined> {
    const vm = this.#vm ??= await this.#create();
    try {
      await vm.migration.startIncoming({ uri: `file:${path}` }, false);
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    const start = performance.now();
    for (;;) {
      const { status, "error-desc": reason } = vm.migration.query();
      if (status === "failed") return reason ?? "no reason";
      if (status === "completed") break;
      if (performance.now() - start > LONGEST) throw new Error(`the load of ${path} hangs`);
      await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL));
    }
    this.#discard();
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#discard();
    this.#loop.stop();
    await this.#served;
    this.#loop[Symbol.dispose]();
  }

  async #create(): Promise<VirtualMachine> {
    const config = parseCommandLine([...this.#options, "-incoming", "defer"]);
    this.#timeline = new Timeline(undefined, "monitor");
    const timeline = this.#timeline;
    const vm = await VirtualMachine.create(config, this.#loop, { kind: "first" }, timeline);
    vm.migration.setCapabilities(
      this.#capabilities.map((capability) => ({ capability, state: true })),
    );
    return vm;
  }

  #discard(): void {
    this.#vm?.board.machine.stop();
    this.#vm?.[Symbol.dispose]();
    this.#vm = undefined;
    this.#timeline?.[Symbol.dispose]();
    this.#timeline = undefined;
  }
}
