/**
 * From the words after the program's name to a configuration: each option is looked up in the tables of
 * its subject, followed in the order of the command line, and the subjects' results are put together.
 */
import { OptionError } from "./errors.ts";
import type { Occurrence, Option, OptionGroup } from "./option.ts";
import type { VirtualMachineConfig } from "./config.ts";
import { AcceleratorOptions } from "./options/accelerator.ts";
import { CharacterOptions } from "./options/character.ts";
import { GuestOptions } from "./options/guest.ts";
import { MachineOptions } from "./options/machine.ts";
import { MigrationOptions } from "./options/migration.ts";
import { ObjectOptions } from "./options/object.ts";
import { ProcessOptions } from "./options/process.ts";

/** All subjects, in the order in which help shows them. */
class CommandLine {
  readonly machine = new MachineOptions();
  readonly accelerator = new AcceleratorOptions();
  readonly objects = new ObjectOptions();
  readonly characters = new CharacterOptions();
  readonly guest = new GuestOptions();
  readonly migration = new MigrationOptions();
  readonly process = new ProcessOptions();
  readonly groups: readonly OptionGroup[] = [
    this.machine,
    this.accelerator,
    this.objects,
    this.characters,
    this.guest,
    this.migration,
    this.process,
  ];
  readonly warnings: string[] = [];
  readonly #byName = new Map<string, Option>();

  constructor() {
    for (const { options } of this.groups) {
      for (const option of options) {
        for (const name of option.names) this.#byName.set(name, option);
      }
    }
  }

  /** The words in turn, as options with their arguments; other words are disk images. */
  follow(argv: readonly string[]): void {
    for (let index = 0; index < argv.length; index++) {
      const word = argv[index] ?? "";
      if (!word.startsWith("-") || word === "-") {
        throw new OptionError(`${word}: disk images are not options`);
      }
      const option = this.#byName.get(word.slice(word.startsWith("--") ? 2 : 1));
      if (option === undefined) throw new OptionError(`${word}: invalid option`);
      if (option.argument === undefined) {
        option.apply(this.#occurrence(word, ""));
        continue;
      }
      const argument = argv[++index];
      if (argument === undefined) throw new OptionError(`${word}: requires an argument`);
      option.apply(this.#occurrence(`${word} ${argument}`, argument));
    }
  }

  #occurrence(text: string, argument: string): Occurrence {
    return { argument, where: `${text}: `, warn: (warning) => this.warnings.push(warning) };
  }

  finish(): VirtualMachineConfig {
    const { machine, accelerator, objects, characters, guest, migration, process } = this;
    return {
      ...machine.finish(process.nographic, (id) => objects.backendSize(id)),
      accelerators: accelerator.accelerators(machine.accelerators(), guest.globals),
      cpu: accelerator.cpu(),
      objects: objects.finish(),
      ...characters.finish({
        createDefaults: !process.noDefaults,
        nographic: process.nographic,
        daemonize: process.daemonize,
      }),
      drives: [],
      blockNodes: [],
      netdevs: [],
      devices: [],
      ...guest.finish(),
      ...migration.finish(),
      ...process.finish(guest.processName()),
      warnings: this.warnings,
    };
  }
}

/**
 * What the words after the program's name ask for. Throws an OptionError whose message is one line for the
 * user, or an InformationRequest if they ask for text only.
 */
export function parseCommandLine(argv: readonly string[]): VirtualMachineConfig {
  const commandLine = new CommandLine();
  commandLine.follow(argv);
  return commandLine.finish();
}
