/** The preflight of an update: the successor is asked whether it would take the guest (docs/live-update.md). */
import { QmpClient, QmpCommandError } from "../../src/qmp_client/mod.ts";
import { flag, type OptionShape } from "./options.ts";
import { isMolt } from "./processes.ts";
import { ExitStatus, type Script, ScriptError } from "./script.ts";

/** Options of scripts that ask. */
export const preflightOptions = {
  "check": flag("only ask whether the successor would take the guest, and say what it answers"),
  "no-check": flag("do not ask first"),
};

/** How long the answer may take; molt itself ends what it asks before. */
const PATIENCE = 120_000;

type Preflighted = { readonly check: boolean; readonly "no-check": boolean };

/**
 * Asks, unless that is not wanted, and says the answer. Returns whether the update is to go on; throws a
 * ScriptError with the reason if the successor would not take the guest.
 */
export async function checkFirst<S extends OptionShape>(
  script: Script<S>,
  { check, "no-check": unchecked }: Preflighted,
  machine: QmpClient,
  command: readonly string[],
): Promise<boolean> {
  if (unchecked && !check) return true;
  if (!isMolt(machine)) return goOn(script, check, "a QEMU cannot ask a successor");
  let outcome: boolean | undefined;
  await script.act("ask whether the successor would take the guest", async () => {
    const { result, program, reason } = await ask(machine, command);
    script.report({ check: { result, program, reason } });
    if (result === "no") {
      throw new ScriptError(
        ExitStatus.failed,
        `the successor would not take the guest, which was not touched: ${reason}`,
      );
    }
    outcome = result === "yes" ? !check : goOn(script, check, reason ?? "");
    if (result === "yes") script.say(`${program} would take the guest`);
  });
  return outcome ?? !check;
}

/** An update goes on without an answer; who only asks has none. */
function goOn<S extends OptionShape>(script: Script<S>, check: boolean, reason: string): boolean {
  if (check) throw new ScriptError(ExitStatus.unavailable, `it cannot be known before: ${reason}`);
  script.say(`not asked whether the successor would take the guest: ${reason}`);
  return true;
}

async function ask(machine: QmpClient, command: readonly string[]) {
  try {
    const signal = AbortSignal.timeout(PATIENCE);
    return await machine.execute("x-check-update", { command: [...command] }, { signal });
  } catch (error) {
    if (!(error instanceof QmpCommandError)) throw error;
    if (error.errorClass !== "CommandNotFound") {
      return { result: "no" as const, reason: error.description };
    }
    return { result: "unknown" as const, reason: "the running program is too old for it" };
  }
}
