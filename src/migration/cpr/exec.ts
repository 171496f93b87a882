/**
 * cpr-exec: the process executes its successor and keeps its PID.
 *
 *   the machine is stopped and its stream written to a file or memfd
 *   -> the list of descriptors goes to a memfd named by QEMU_CPR_EXEC_STATE
 *   -> everything is to close on exec but that memfd and the listed descriptors
 *   -> execve, in the folder in which this process was started; the successor reads the list before it creates anything (descriptors.ts)
 *
 * Everything that can fail fails in this process, where the guest is: close-on-exec is set again, the
 * memfd is closed, and the error goes to the caller. execve itself either fails so or does not return.
 */
import { asFd, duplicate, type Fd, setCloseOnExec } from "../../native/descriptor.ts";
import {
  closeAllOnExec,
  environment,
  execute,
  replaceStandardStream,
} from "../../native/process.ts";
import { launch } from "../../process/launch.ts";
import { CPR_STATE_VARIABLE, type KeptDescriptor, writeExecState } from "./descriptors.ts";

/**
 * Executes `command` with `kept` open and `variables` (`NAME=value`), and with the standard error `errors`
 * if that is given. Returns only by throwing.
 */
export function executeSuccessor(
  command: readonly string[],
  kept: readonly KeptDescriptor[],
  variables: readonly string[],
  errors?: Fd,
): never {
  using state = writeExecState(kept);
  using stderr = errors === undefined ? undefined : duplicate(asFd(2));
  const open: Fd[] = [state.fd, ...kept.map(({ fd }) => fd)];
  try {
    closeAllOnExec();
    for (const fd of open) setCloseOnExec(fd, false);
    const all = [...environment(), ...variables, `${CPR_STATE_VARIABLE}=${state.fd}`];
    if (errors !== undefined) replaceStandardStream(2, errors);
    launch.inFolder(() => execute(command, all));
    throw new Error("unreachable: a successful execve does not return");
  } catch (error) {
    if (stderr !== undefined) replaceStandardStream(2, stderr.fd);
    for (const fd of open) setCloseOnExec(fd, true);
    throw error;
  }
}
