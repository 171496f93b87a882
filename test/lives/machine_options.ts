/** The command line of a life's machine. */
import type { Traits } from "./traits.ts";

/** What a process calls its own. All paths are absolute, whatever its command line says. */
export interface MachineNames {
  readonly number: number;
  readonly qmp: string;
  /** A second monitor, QMP as well, for clients that come and go. */
  readonly shell: string;
  readonly console: string;
  readonly pidFile: string;
}

/** What the options depend on. */
export interface MachineContext {
  readonly traits: Traits;
  /** The life's folder, which has `start`, where it is started, and `run`. */
  readonly folder: string;
  /** Distinguishes files with RAM. */
  readonly memory: number;
  /** One that the guest does not fit into. */
  readonly misfit: boolean;
}

const MEBIBYTES = 64;

/** Options of molt. The guest's output is added to run/serial. */
export function machineOptions(
  names: MachineNames,
  { traits, folder, memory, misfit }: MachineContext,
): string[] {
  const relative = traits.paths === "relative";
  const typed = (path: string) => relative ? path.replace(`${folder}/`, "") : path;
  const size = misfit ? 2 * MEBIBYTES : MEBIBYTES;
  const backend = `id=ram0,size=${size}M,share=on`;
  // What does not fit would change the size of the guest's file.
  const file = typed(`${folder}/run/ram.${memory}${misfit ? ".misfit" : ""}`);
  const [console, keeps] = [typed(names.console), traits.keepsConsole ? ",cpr=on" : ""];
  const log = typed(`${folder}/run/serial`);
  return [
    ...["-machine", "microvm,acpi=off,memory-backend=ram0,aux-ram-share=on"],
    "-object",
    traits.memory === "memfd"
      ? `memory-backend-memfd,${backend}`
      : `memory-backend-file,${backend},mem-path=${file}`,
    ...["-accel", "kvm", "-cpu", "host", "-smp", String(traits.cpus), "-m", `${size}M`],
    ...["-kernel", relative ? "heartbeat.elf" : `${folder}/files/heartbeat.elf`],
    ...["-append", "memory=16 rate=20 period=50", "-nodefaults", "-display", "none"],
    "-chardev",
    `socket,id=con,path=${console},server=on,wait=off,logfile=${log},logappend=on${keeps}`,
    ...["-serial", "chardev:con"],
    ...["-qmp", `unix:${typed(names.qmp)},server=on,wait=off`],
    ...["-qmp", `unix:${typed(names.shell)},server=on,wait=off`],
    ...["-pidfile", typed(names.pidFile)],
  ];
}
