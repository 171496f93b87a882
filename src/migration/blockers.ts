/** What keeps a machine from being migrated in a mode, by name. */
import type { RamBlock } from "../memory/ram_block.ts";
import { MigrationError } from "./errors.ts";
import type { MigrationMode } from "./parameters.ts";

const allModes: readonly MigrationMode[] = ["normal", "cpr-reboot", "cpr-transfer", "cpr-exec"];

/** Reasons against migration, each for some modes. */
export class Blockers {
  readonly #onlyMigratable: boolean;
  readonly #blockers = new Set<
    { readonly reason: string; readonly modes: readonly MigrationMode[] }
  >();

  /** `onlyMigratable`: nothing may keep the machine from being migrated (-only-migratable). */
  constructor(onlyMigratable = false) {
    this.#onlyMigratable = onlyMigratable;
  }

  /**
   * Blocks `modes` (all by default) until the result is disposed. Throws if the machine has to stay
   * migratable to other hosts.
   */
  add(reason: string, modes: readonly MigrationMode[] = allModes): Disposable {
    if (this.#onlyMigratable && modes.includes("normal")) {
      throw new MigrationError(
        `disallowing migration blocker (--only-migratable) for: ${reason}`,
      );
    }
    const blocker = { reason, modes };
    this.#blockers.add(blocker);
    return { [Symbol.dispose]: () => void this.#blockers.delete(blocker) };
  }

  /** Blocks all modes for good: the machine is damaged, whatever was asked for. */
  addDamage(reason: string): void {
    this.#blockers.add({ reason, modes: allModes });
  }

  /** The reasons against `mode`, for query-migrate's `blocked-reasons`. */
  reasons(mode: MigrationMode): string[] {
    return [...this.#blockers].filter(({ modes }) => modes.includes(mode)).map(({ reason }) =>
      reason
    );
  }

  /** Throws the first reason against `mode`. */
  check(mode: MigrationMode): void {
    const [reason] = this.reasons(mode);
    if (reason !== undefined) throw new MigrationError(reason);
  }
}

/** The modes in which RAM stays where it is while processes change. */
export const inPlaceModes: readonly MigrationMode[] = ["cpr-transfer", "cpr-exec"];

/** Blocks live updates for each block of RAM that would end with this process. */
export function blockPrivateRam(blockers: Blockers, blocks: readonly RamBlock[]): void {
  for (const block of blocks) {
    if (block.shared) continue;
    blockers.add(
      `Memory region ${block.name} is not compatible with CPR. share=on is required for ` +
        "memory-backend objects, and aux-ram-share=on is required.",
      inPlaceModes,
    );
  }
}
