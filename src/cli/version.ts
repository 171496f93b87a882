/** What `molt --version` says, to people and to scripts written for QEMU. */
import { qemuVersionText } from "../monitor/version.ts";
import { build, packageName, version } from "../version.ts";

/**
 * The first line is the one that scripts look for in QEMU's output; the words in parentheses are where
 * QEMU's packagers name themselves.
 */
export function versionText(): string {
  return `QEMU emulator version ${qemuVersionText} (${packageName()})\n` +
    `molt ${version}, build ${build()}: a virtual machine monitor for KVM that can be replaced ` +
    "under a running guest";
}
