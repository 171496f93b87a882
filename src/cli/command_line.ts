/**
 * From the words after the program's name to a configuration: each option is looked up in the tables of
 * its subject, followed in the order of the command line, and the subjects' results are put together.
 */
import { parseConfigFile } from "./config_file.ts";
import { InformationRequest } from "./information.ts";
import { OptionError } from "../configuration/errors.ts";
import { helpText } from "./help.ts";
import type { Occurrence, Option, OptionGroup } from "./option.ts";
import { AcceleratorOptions } from "./options/accelerator.ts";
import { BlockOptions } from "./options/block.ts";
import { CharacterOptions } from "./options/character.ts";
import { DeviceOptions } from "./options/device.ts";
import { GuestOptions } from "./options/guest.ts";
import { MachineOptions } from "./options/machine.ts";
import { MigrationOptions } from "./options/migration.ts";
import { NetworkOptions } from "./options/network.ts";
import { ObjectOptions } from "./options/object.ts";
import { ProcessOptions } from "./options/process.ts";
import { RefusedOptions } from "./options/refused.ts";
import { versionText } from "./version.ts";

/** How to get at the host while the command line is read. */
export interface HostAccess {
  /** The text of a file, for -readconfig. Throws with QEMU's words if it cannot be read. */
  readonly readText: (path: string) => string;
}

/** All options, by subject, with what they have said so far. */
export class CommandLine {
  readonly machine = new MachineOptions();
  readonly accelerator = new AcceleratorOptions();
  readonly objects = new ObjectOptions();
  readonly devices = new DeviceOptions();
  readonly block = new BlockOptions();
  readonly network = new NetworkOptions();
  readonly characters = new CharacterOptions();
  readonly guest = new GuestOptions();
  readonly migration = new MigrationOptions();
  readonly process = new ProcessOptions();
  readonly warnings: string[] = [];
  readonly #general: OptionGroup = {
    title: "General options",
    options: [
      {
        names: ["help", "h"],
        help: ["display this help and exit"],
        apply: () => {
          throw new InformationRequest(helpText(this.#groups));
        },
      },
      {
        names: ["version"],
        help: ["display version information and exit"],
        apply: () => {
          throw new InformationRequest(versionText());
        },
      },
      {
        names: ["readconfig"],
        argument: "file",
        help: ["read options from a file"],
        apply: (occurrence) => this.#readConfig(occurrence),
      },
    ],
  };
  /** In the order in which help shows them. */
  readonly #groups: readonly OptionGroup[] = [
    this.#general,
    this.machine,
    this.accelerator,
    this.objects,
    this.devices,
    this.block,
    this.network,
    this.characters,
    this.guest,
    this.migration,
    this.process,
    new RefusedOptions(),
  ];
  readonly #byName = new Map<string, Option>();
  readonly #host: HostAccess | undefined;

  constructor(host?: HostAccess) {
    this.#host = host;
    for (const { options } of this.#groups) {
      for (const option of options) {
        for (const name of option.names) this.#byName.set(name, option);
      }
    }
  }

  /** Follows the words in turn: options with their arguments; other words are disk images. */
  follow(argv: readonly string[]): void {
    this.#checkNames(argv);
    for (let index = 0; index < argv.length; index++) {
      const word = argv[index] ?? "";
      const option = this.#option(word);
      if (option === undefined) {
        this.block.addImage(this.#occurrence(word, word), 0);
      } else if (option.argument === undefined) {
        option.apply(this.#occurrence(word, ""));
      } else {
        const argument = argv[++index] ?? "";
        option.apply(this.#occurrence(`${word} ${argument}`, argument));
      }
    }
  }

  /** Complains of unknown options and missing arguments before anything is followed. */
  #checkNames(argv: readonly string[]): void {
    for (let index = 0; index < argv.length; index++) {
      const word = argv[index] ?? "";
      const option = this.#option(word);
      if (option?.argument === undefined) continue;
      if (++index === argv.length) throw new OptionError(`${word}: requires an argument`);
    }
  }

  /** The option that a word names, `undefined` for other words. */
  find(word: string): Option | undefined {
    if (!word.startsWith("-")) return undefined;
    return this.#byName.get(word.slice(word.startsWith("--") ? 2 : 1));
  }

  #option(word: string): Option | undefined {
    const option = this.find(word);
    if (option === undefined && word.startsWith("-")) {
      throw new OptionError(`${word}: invalid option`);
    }
    return option;
  }

  #occurrence(text: string, argument: string): Occurrence {
    return { argument, where: `${text}: `, warn: (warning) => this.warnings.push(warning) };
  }

  #readConfig({ argument, where }: Occurrence): void {
    if (this.#host === undefined) {
      throw new OptionError(`${where}not available here: give the options themselves`);
    }
    let text: string;
    try {
      text = this.#host.readText(argument);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new OptionError(`${where}${reason}`, undefined, { cause: error });
    }
    for (const option of parseConfigFile(text, where)) {
      this.#byName.get(option.name)?.apply({
        ...this.#occurrence("", option.argument),
        where,
      });
    }
  }
}
