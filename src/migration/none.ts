/** Migration control of a machine that has nothing to migrate: settings are kept, attempts refused. */
import { type CapabilityName, CapabilityStore } from "./capabilities.ts";
import { MigrationError } from "./errors.ts";
import type { MigrationInformation } from "./information.ts";
import { type MigrationParameters, ParameterStore } from "./parameters.ts";

const REASON = "the machine 'none' has no state to migrate";

/** What monitors of `-machine none` see of migration. */
export class NoMigration {
  readonly #parameters = new ParameterStore();
  readonly #capabilities = new CapabilityStore();
  readonly underWay = false;
  readonly ended: Promise<void> = Promise.resolve();

  get parameters(): MigrationParameters {
    return this.#parameters.values;
  }

  setParameters(given: Readonly<Record<string, unknown>>): void {
    this.#parameters.set(given);
  }

  setParameterFromText(name: string, text: string): void {
    this.#parameters.setFromText(name, text);
  }

  describeParameters(): string[] {
    return this.#parameters.describe();
  }

  setCapabilities(
    changes: readonly { readonly capability: CapabilityName; readonly state: boolean }[],
  ): void {
    this.#capabilities.set(changes, {
      incomingStarted: false,
      compression: this.parameters["multifd-compression"],
      dirtyRing: false,
    });
  }

  listCapabilities(): { readonly capability: CapabilityName; readonly state: boolean }[] {
    return this.#capabilities.list();
  }

  start(): never {
    throw new MigrationError(REASON);
  }

  startIncoming(): Promise<never> {
    return Promise.reject(new MigrationError("'-incoming' was not specified on the command line"));
  }

  cancel(): void {}

  readonly yankable = false;

  yank(): void {}

  continueFrom(): never {
    throw new MigrationError(REASON);
  }

  query(): MigrationInformation {
    return { "blocked-reasons": [REASON] };
  }
}
