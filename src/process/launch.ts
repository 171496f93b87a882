/**
 * What this process was started with, kept from its first moment: the folder, and program and arguments. A
 * successor is to be started with the same, so what changes in the process's life is followed: its folder
 * may be renamed or removed, -daemonize leaves it, sockets and the pid file get other names, and -incoming
 * is over when the guest has come.
 *
 * The folder is kept open, so that it is found by whatever name it has. Who executes or spawns a program
 * does so in it (`inFolder`). If it has been removed, no runtime would start there: then it is the root, as
 * long as nothing that the command line names is relative.
 */
import { relativePaths } from "../configuration/relative_paths.ts";
import type { VirtualMachineConfig } from "../configuration/virtual_machine.ts";
import { renameInWords } from "./words.ts";
import { showCommandLine, shownCommandLine } from "../native/command_line.ts";
import type { Descriptor } from "../native/descriptor.ts";
import { openFile, OpenFlags, readLink } from "../native/file.ts";
import { changeDirectory, getEnvironment } from "../native/process.ts";
import { identityAt, OwnFile } from "./own_file.ts";

/** O_PATH: needs no permission to read the folder. */
const PATH_ONLY = 0o10000000;
/** What the kernel adds to the path of a file that is no longer there. */
const REMOVED = / \(deleted\)$/;

/** How a successor of this process is to be started. */
export interface LaunchInformation {
  /** Program and arguments, without -incoming; the program by its whole path. */
  readonly command: readonly string[];
  /** The folder that relative paths in it are meant in. */
  readonly directory: string;
}

/** The words without an option and its arguments (cli/words.ts). */
export type WithoutOption = (words: readonly string[], name: string) => string[];

/** What this process was started with. */
class Launch {
  readonly #folder: Descriptor;
  readonly #program: string;
  /** What the runtime was given before the words that are molt's. */
  readonly #runtime: readonly string[];
  #words: readonly string[];
  #relative: readonly string[] = [];
  #withoutOption: WithoutOption = (words) => [...words];
  #left = false;

  constructor() {
    this.#folder = openFile(".", PATH_ONLY | OpenFlags.directory);
    const shown = shownCommandLine();
    const own = shown.length - Deno.args.length;
    this.#program = shown[0] ?? "";
    this.#runtime = shown.slice(1, own);
    this.#words = shown.slice(own);
  }

  /** The command line has been understood; `withoutOption` takes an option and its arguments out of it. */
  follow(config: VirtualMachineConfig, withoutOption: WithoutOption): void {
    this.#relative = relativePaths(config);
    this.#withoutOption = withoutOption;
  }

  /** For a successor, which may be a newer program under the same path. */
  get information(): LaunchInformation {
    const { path, removed } = this.#whereabouts();
    const directory = removed && this.#relative.length === 0 ? "/" : path;
    const command = [this.#programPath(path), ...this.#runtime, ...this.#successorWords()];
    return { command, directory };
  }

  /** What this process was started with, -incoming included: for the daemon that it is to be. */
  get daemonCommand(): readonly string[] {
    return [this.ownProgram, ...this.#runtime, ...this.#words];
  }

  /**
   * For another process of the same program. Where the file has been replaced since, that is the new
   * program: the runtime looks for what a compiled program carries under that path.
   */
  get ownCommand(): readonly string[] {
    return [this.ownProgram, ...this.#runtime, ...this.#successorWords()];
  }

  /** The file that this program was started from. */
  get ownProgram(): string {
    return readLink("/proc/self/exe").replace(REMOVED, "");
  }

  /** What the runtime is given before the words that are molt's. */
  get runtimeWords(): readonly string[] {
    return this.#runtime;
  }

  /**
   * The folder to start programs in. Throws if it has been removed and something is relative to it: a
   * successor would not find that.
   */
  folder(): string {
    const { path, removed } = this.#whereabouts();
    if (!removed) return `/proc/self/fd/${this.#folder.fd}`;
    const [first] = this.#relative;
    if (first === undefined) return "/";
    throw new Error(
      `the folder in which molt was started, '${path}', has been removed, and '${first}' is relative ` +
        "to it: no program can be started there",
    );
  }

  /** A daemon keeps no folder busy; a successor in the same process goes on as one. */
  leaveFolder(): void {
    changeDirectory("/");
    this.#left = true;
  }

  get leftFolder(): boolean {
    return this.#left;
  }

  /** Does `action`, which starts a program, in the folder. Throws as {@linkcode folder} does. */
  inFolder<Result>(action: () => Result): Result {
    using before = openFile(".", PATH_ONLY | OpenFlags.directory);
    changeDirectory(this.folder());
    try {
      return action();
    } finally {
      changeDirectory(`/proc/self/fd/${before.fd}`);
    }
  }

  /** The guest is here: how it came is over. */
  arrived(): void {
    this.#words = this.#successorWords();
    this.#show();
  }

  /**
   * Gives a socket or the pid file of this process another name, which a successor gets too. Throws if
   * it has no such file, or a SystemError.
   */
  rename(from: string, to: string): void {
    const file = OwnFile.find(from);
    if (file === undefined) {
      throw new Error(`'${from}' is no listening socket's and no pid file of this process`);
    }
    const before = file.path;
    file.rename(to);
    this.#words = renameInWords(this.#words, before, file.path);
    this.#show();
  }

  #successorWords(): string[] {
    return this.#withoutOption(this.#words, "incoming");
  }

  #show(): void {
    showCommandLine([this.#program, ...this.#runtime, ...this.#words]);
  }

  #whereabouts(): { readonly path: string; readonly removed: boolean } {
    const path = readLink(`/proc/self/fd/${this.#folder.fd}`);
    if (!REMOVED.test(path)) return { path, removed: false };
    // A folder may have such a name.
    const identity = identityAt(`/proc/self/fd/${this.#folder.fd}/.`);
    const there = identityAt(path);
    return there === identity
      ? { path, removed: false }
      : { path: path.replace(REMOVED, ""), removed: true };
  }

  /** The program by the path that it was started by: a symbolic link may lead to another one by now. */
  #programPath(folder: string): string {
    const program = this.#program;
    if (program.startsWith("/")) return program;
    if (program.includes("/")) return `${folder}/${program}`;
    const places = (getEnvironment("PATH") ?? "").split(":").filter((place) =>
      place.startsWith("/")
    );
    const found = places.map((place) => `${place}/${program}`).find(identityAt);
    return found ?? this.ownProgram;
  }
}

export const launch = new Launch();
