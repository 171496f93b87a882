/**
 * An interim monitor's wait for the successor, as an operator sees it. The machine's sockets are the
 * successor's to open: who finds the old name answered takes it for that one. So if the wait is longer than a
 * start usually is, each monitor that listens on a unix socket PATH is to be found at PATH.interim as well:
 *
 *   query-migrate            status active, x-waiting-for
 *   migrate-set-parameters   x-successor-timeout counts from the beginning of the wait, and at once
 *   migrate_cancel, quit     the successor is ended; the guest stays here, and is ended by quit
 */
import type { ChardevOptions } from "./configuration/chardev.ts";
import { reportFault } from "./native/faults.ts";
import type { VirtualMachine } from "./virtual_machine.ts";

/** How long a wait is nobody's concern, in milliseconds. */
const UNNOTICED_MS = 1000;

/** The wait, until it is disposed. */
export class SuccessorWait implements Disposable {
  readonly #vm: VirtualMachine;
  readonly #begin = performance.now();
  /** The process's own limit, for updates that it may begin once it is a monitor. */
  readonly #ownLimit: number;
  readonly #timer: ReturnType<typeof setTimeout>;
  readonly #opened: string[] = [];
  #cancelled = false;
  #disposed = false;

  /** It is over after `milliseconds`, unless somebody changes that. */
  constructor(vm: VirtualMachine, milliseconds: number) {
    this.#vm = vm;
    this.#ownLimit = this.limit;
    vm.migration.setParameters({ "x-successor-timeout": milliseconds });
    vm.migration.awaitSuccessor({ cancel: () => this.#cancelled = true });
    vm.ended.then(() => this.#cancelled = true, () => {});
    this.#timer = setTimeout(() => this.#open().catch(reportFault), UNNOTICED_MS);
  }

  /** Somebody has asked for its end. */
  get cancelled(): boolean {
    return this.#cancelled;
  }

  /** The longest that it may take by now, in milliseconds. */
  get limit(): number {
    return this.#vm.migration.parameters["x-successor-timeout"];
  }

  /** The successor is not waited for any more. */
  get over(): boolean {
    return this.#cancelled || performance.now() >= this.#begin + this.limit;
  }

  async #open(): Promise<void> {
    const { chardevs, monitors, config } = this.#vm;
    for (const { chardev, mode, pretty } of config.monitors) {
      const beside = besideOf(config.chardevs.find(({ id }) => id === chardev));
      if (beside === undefined || chardevs.find(beside.id) !== undefined) continue;
      await chardevs.create(beside);
      this.#opened.push(beside.id);
      if (this.#disposed) return this.#close();
      monitors.add(chardevs.port(beside.id), { mode, pretty });
    }
  }

  #close(): void {
    const { chardevs, monitors } = this.#vm;
    for (const id of this.#opened.splice(0)) {
      monitors.remove(id);
      chardevs.discard(id);
    }
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    clearTimeout(this.#timer);
    this.#vm.migration.awaitSuccessor(undefined);
    this.#vm.migration.setParameters({ "x-successor-timeout": this.#ownLimit });
    this.#close();
  }
}

/** The same beside a socket that is the successor's; `undefined` for what has no such place. */
function besideOf(options: ChardevOptions | undefined): ChardevOptions | undefined {
  const backend = options?.backend;
  if (options === undefined || backend?.kind !== "socket" || options.mux) return undefined;
  const { address, role } = backend;
  if (address.kind !== "unix" || address.abstract || role.kind !== "server") return undefined;
  return {
    id: `${options.id}.interim`,
    backend: {
      ...backend,
      address: { ...address, path: `${address.path}.interim` },
      role: { ...role, wait: false },
    },
    logappend: true,
    mux: false,
    cpr: false,
  };
}
