/** What `molt --version` says, to people and to scripts written for QEMU. */
import { qemuVersionText } from "../monitor/version.ts";

/** molt's own version, as in deno.json. */
export const moltVersion = "0.1.0";

/** Which build this is. A program that is compiled gets a name of its own. */
export const buildName = "source";

/**
 * The first line is the one that scripts look for in QEMU's output; the words in parentheses are where
 * QEMU's packagers name themselves.
 */
export const versionText =
  `QEMU emulator version ${qemuVersionText} (molt ${moltVersion} build ${buildName})\n` +
  `molt ${moltVersion}, build ${buildName}: a virtual machine monitor for KVM that can be replaced ` +
  "under a running guest";
