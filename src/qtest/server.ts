/** The qtest server of a machine, as -qtest and -qtest-log ask for it. */
import type { CharacterPort } from "../backends/character.ts";
import { OutputFile, outputFlags } from "../backends/chardev.ts";
import type { ChardevEnvironment } from "../backends/chardev.ts";
import { asFd, duplicate } from "../native/descriptor.ts";
import { QtestLog } from "./log.ts";
import { QtestSession } from "./session.ts";
import type { QtestTarget } from "./target.ts";

/**
 * Serves `port` until it is disposed. `log` is the file for the log, `none` for none, and standard
 * error if it is absent, as in QEMU.
 */
export function serveQtest(
  environment: Pick<ChardevEnvironment, "report" | "openPath">,
  port: CharacterPort,
  log: string | undefined,
  target: QtestTarget,
): Disposable {
  using undo = new DisposableStack();
  const output = log === "none" ? undefined : undo.use(openLog(environment, log));
  undo.use(new QtestSession(port, target, new QtestLog(output)));
  return undo.move();
}

function openLog(
  environment: Pick<ChardevEnvironment, "report" | "openPath">,
  path: string | undefined,
): OutputFile {
  if (path !== undefined) {
    return new OutputFile(environment, path, environment.openPath(path, outputFlags(false), 0o666));
  }
  const STDERR = asFd(2);
  return new OutputFile(environment, "standard error", duplicate(STDERR));
}
