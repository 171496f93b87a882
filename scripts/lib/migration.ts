/** What scripted migrations have in common. */
import {
  awaitMigration,
  followMigration,
  type MigrationCapability,
  MigrationFailedError,
  type MigrationInformation,
  type MigrationParameters,
  type QmpClient,
  QmpDisconnectedError,
  type RunState,
} from "../../src/qmp_client/mod.ts";
import type { OptionShape } from "./options.ts";
import { ExitStatus, type Script, ScriptError } from "./script.ts";

/** States of a machine in which a migration can begin. */
const movable: readonly RunState[] = ["running", "paused", "suspended", "prelaunch"];

/** The machine's state. Throws if no migration can begin in it. */
export async function checkMovable(machine: QmpClient): Promise<RunState> {
  const { status } = await machine.execute("query-status");
  if (movable.includes(status)) return status;
  const hint = status === "postmigrate"
    ? ": its guest was saved or has moved; 'cont' would let it go on here"
    : "";
  throw new ScriptError(ExitStatus.unavailable, `the machine is in state '${status}'${hint}`);
}

/**
 * Throws if some of the guest's memory would not survive the end of its process. QEMU does not look: after
 * cpr-exec its guest begins anew, in empty memory.
 */
export async function checkShared(machine: QmpClient): Promise<void> {
  const alone = (await machine.execute("query-memdev")).filter(({ share }) => !share);
  if (alone.length === 0) return;
  throw new ScriptError(
    ExitStatus.unavailable,
    `memory ${alone.map(({ id }) => `'${id}'`).join(", ")} belongs to its process alone: ` +
      "start the machine with -object memory-backend-memfd,id=...,size=...,share=on " +
      "and -machine ...,memory-backend=...,aux-ram-share=on",
  );
}

/** Settings of a migration. */
export interface Settings {
  readonly capabilities?: readonly MigrationCapability[];
  readonly parameters?: MigrationParameters;
}

/**
 * Sets what a migration needs until the result is disposed: then everything is as it was. A machine that
 * a dry run has not started is given by its address.
 */
export async function configure<S extends OptionShape>(
  script: Script<S>,
  machine: QmpClient | string,
  { capabilities = [], parameters = {} }: Settings,
): Promise<AsyncDisposable> {
  const before = typeof machine === "string" ? undefined : await settingsOf(machine);
  const off = capabilities.filter((name) => !before?.capabilities.has(name));
  const restored = Object.fromEntries(
    Object.entries(before?.parameters ?? {}).filter(([name]) => name in parameters),
  );
  const set = async (state: boolean, values: MigrationParameters) => {
    if (off.length > 0) {
      await script.change(machine, "migrate-set-capabilities", {
        capabilities: off.map((capability) => ({ capability, state })),
      });
    }
    if (Object.keys(values).length > 0) {
      await script.change(machine, "migrate-set-parameters", values);
    }
  };
  const restore = async () => {
    try {
      await set(false, restored);
    } catch (error) {
      // Its process has ended, and its settings with it.
      if (!(error instanceof QmpDisconnectedError)) throw error;
    }
  };
  try {
    await set(true, parameters);
  } catch (error) {
    await restore();
    throw error;
  }
  return { [Symbol.asyncDispose]: restore };
}

async function settingsOf(machine: QmpClient) {
  const states = await machine.execute("query-migrate-capabilities");
  const capabilities: ReadonlySet<string> = new Set(
    states.filter(({ state }) => state).map(({ capability }) => capability),
  );
  return { capabilities, parameters: await machine.execute("query-migrate-parameters") };
}

/**
 * Shows how a migration comes on and returns when it has completed. It is cancelled by Ctrl-C and after
 * `limit` milliseconds, unless it has completed by then.
 */
export async function follow<S extends OptionShape>(
  script: Script<S>,
  machine: QmpClient,
  limit?: number,
): Promise<MigrationInformation> {
  const timeout = limit === undefined ? [] : [AbortSignal.timeout(limit)];
  const signal = AbortSignal.any([script.signal, ...timeout]);
  let last: MigrationInformation = {};
  try {
    for await (last of followMigration(machine, { signal })) script.progress(progressText(last));
    return last;
  } catch (error) {
    if (!signal.aborted || error instanceof MigrationFailedError) throw error;
  }
  await script.change(machine, "migrate_cancel", {});
  try {
    return await awaitMigration(machine);
  } catch (error) {
    if (!(error instanceof MigrationFailedError)) throw error;
    if (script.signal.aborted) throw script.signal.reason;
    throw new Error("the migration was cancelled: it took too long", { cause: error });
  }
}

/** `active: 41 %, 1.2 GiB sent, 320 MiB/s, 1.7 GiB to go, pass 1`. */
export function progressText({ status = "none", ram }: MigrationInformation): string {
  if (!ram || ram.total === 0) return status;
  const share = Math.floor(100 * (1 - ram.remaining / ram.total));
  return [
    `${status}: ${share} %`,
    `${formatBytes(ram.transferred)} sent`,
    `${formatBytes(ram.mbps * 125_000)}/s`,
    `${formatBytes(ram.remaining)} to go`,
    `pass ${ram["dirty-sync-count"]}`,
  ].join(", ");
}

/** `1.2 GiB`. */
export function formatBytes(count: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    unit++;
  }
  return `${unit === 0 ? count.toFixed(0) : count.toFixed(1)} ${units[unit]}`;
}

/** What to say of a pause in milliseconds, if there was one. */
export function pauseText(pause: number | undefined): string {
  return pause === undefined ? "" : ` and was paused for ${pause.toFixed(1)} ms`;
}
