/**
 * What is known of the program that cpr-exec is to execute, before it is executed:
 *
 *   takes from interim   it is a molt that asks the interim monitor for the guest and never runs it from a
 *                        file meanwhile: the running program's own file, or one that carries SUCCESSOR_NOTE
 *   script               a text, or a shell: what it starts cannot be known
 *   other                another program, such as a QEMU
 *
 * A program that was put in place of this one, at the same path or another, is recognised by the note in
 * its file. Nothing is started to find out: a program that is not a molt may do anything with any word.
 *
 *   compiled             the note is in what `deno compile` has added to the runtime, as the sources are
 *   `deno run MAIN.TS`   it is in the source file that has it, beside MAIN.TS
 */
import { launch } from "../../../process/launch.ts";
import {
  fileAt,
  type FileIdentity,
  isSameFile,
  OpenProgram,
  pathIn,
  type ProgramFile,
  programFile,
} from "../../../process/program_file.ts";
import { MigrationError } from "../../errors.ts";
import { SUCCESSOR_NOTE } from "./protocol.ts";

/** What is known of a successor's program. */
export type SuccessorKind = "takes from interim" | "script" | "other";

/** A program that was looked at. */
export interface SuccessorProgram {
  readonly kind: SuccessorKind;
  /** What execve opens; `undefined` if there is no such file. */
  readonly file: ProgramFile | undefined;
  /** The source that a runtime is to run, if it is one. */
  readonly source: ProgramFile | undefined;
}

/** Programs that run what their arguments or a file say, by the names that they have. */
const shells = new Set([
  ...["sh", "ash", "bash", "busybox", "dash", "ksh", "mksh", "zsh", "env"],
]);
/** The folder of the file that has the note, as seen from main.ts. */
const NOTE_SOURCE = "src/migration/cpr/interim/protocol.ts";

const nameOf = (path: string) => path.slice(path.lastIndexOf("/") + 1);
const folderOf = (path: string) => path.slice(0, path.lastIndexOf("/") + 1);

/** The running program's own file, even if its path leads to another one by now. */
function ownFile(): FileIdentity | undefined {
  return fileAt("/proc/self/exe");
}

/** The file of this program's first module; `undefined` in a compiled program, which has it inside. */
function ownSource(): FileIdentity | undefined {
  const { mainModule, build } = Deno;
  if (build.standalone || !mainModule.startsWith("file://")) return undefined;
  return fileAt(decodeURIComponent(new URL(mainModule).pathname));
}

/** The source file that `deno run` is asked to run: the first word that is no option. */
function sourceFile(words: readonly string[], folder: string): ProgramFile | undefined {
  if (words[1] !== "run") return undefined;
  const word = words.slice(2).find((word) => !word.startsWith("-"));
  if (word === undefined) return undefined;
  const path = word.startsWith("file://")
    ? decodeURIComponent(new URL(word).pathname)
    : pathIn(folder, word);
  const identity = fileAt(path);
  return identity && { path, identity };
}

/** Looks at what execve would open for `command`. Reads of files, and starts nothing. */
export async function lookAtSuccessor(command: readonly string[]): Promise<SuccessorProgram> {
  const folder = launch.folder();
  const file = programFile(command[0] ?? "", folder);
  if (file === undefined) return { kind: "other", file, source: undefined };
  using program = OpenProgram.open(file.path);
  if (program !== undefined && !isSameFile(program.identity, file.identity)) {
    throw replaced(command);
  }
  const own = isSameFile(file.identity, ownFile());
  // A compiled program runs its own source, whatever its words are.
  if (own && Deno.build.standalone) return { kind: "takes from interim", file, source: undefined };
  if (program === undefined) return { kind: "other", file, source: undefined };
  if (!program.isElf) return { kind: "script", file, source: undefined };
  const source = own || nameOf(file.path) === "deno" ? sourceFile(command, folder) : undefined;
  const knows = source === undefined
    ? await program.carries(SUCCESSOR_NOTE)
    : isSameFile(source.identity, ownSource()) || await sourceKnows(source.path);
  if (knows) return { kind: "takes from interim", file, source };
  return { kind: shells.has(nameOf(file.path)) ? "script" : "other", file, source };
}

/** Whether the checkout that `main` belongs to has the note. */
async function sourceKnows(main: string): Promise<boolean> {
  if (nameOf(main) !== "main.ts") return false;
  using source = OpenProgram.open(folderOf(main) + NOTE_SOURCE);
  return await source?.carries(SUCCESSOR_NOTE) ?? false;
}

/**
 * Throws if `command` leads to another file than when it was looked at. To be called immediately before
 * the execve.
 */
export function requireSame(command: readonly string[], seen: SuccessorProgram): void {
  const folder = launch.folder();
  const file = programFile(command[0] ?? "", folder);
  // execve says best what is wrong with a file that is not there.
  if (file === undefined) return;
  const same = isSameFile(file.identity, seen.file?.identity) &&
    (seen.source === undefined ||
      isSameFile(sourceFile(command, folder)?.identity, seen.source.identity));
  if (!same) throw replaced(command);
}

/** What the command's `-incoming` says; `undefined` if there is none. */
export function incomingWord(command: readonly string[]): string | undefined {
  const index = command.findLastIndex((word) => word === "-incoming" || word === "--incoming");
  return index < 0 ? undefined : command[index + 1];
}

function replaced([program = ""]: readonly string[]): MigrationError {
  return new MigrationError(`'${program}' was replaced while the update was under way`);
}
