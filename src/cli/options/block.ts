/** Disk images: -drive, -blockdev and short forms. */
import { InformationRequest } from "../information.ts";
import { OptionError } from "../../configuration/errors.ts";
import {
  type Occurrence,
  type Option,
  type OptionGroup,
  readJsonOrTree,
  readList,
} from "../option.ts";
import type { BlockNodeConfig, DriveConfig } from "../../configuration/block.ts";
import { nodeNames, readBlockNode } from "./block_node.ts";
import { readDrive } from "./drive.ts";

/** A drive on the command line: all are opened after all -blockdev. */
interface GivenDrive {
  readonly drive: DriveConfig;
  readonly where: string;
  /** It was given as a disk of a PC (-hda, -cdrom, a word): the board has no controller that takes it. */
  readonly forController: boolean;
}

export class BlockOptions implements OptionGroup {
  readonly title = "Block device options";
  readonly #drives = new Map<string, GivenDrive>();
  readonly #indexes = new Set<number>();
  readonly #nodes: BlockNodeConfig[] = [];
  readonly #nodeNames = new Set<string>();

  readonly options: readonly Option[] = [
    {
      names: ["blockdev"],
      argument: "[driver=]driver,node-name=N[,read-only=on|off][,cache.direct=on|off][,...]",
      help: [
        "define a block node: file, host_device (filename=F, locking=on|off|auto,",
        "aio=threads|native|io_uring), raw (file=N, offset=n, size=n), null-co (size=n)",
      ],
      apply: (occurrence) => this.#blockdev(occurrence),
    },
    {
      names: ["drive"],
      argument: "file=file,format=raw[,if=none][,id=name][,readonly=on|off][,media=disk|cdrom]" +
        "[,cache=writethrough|writeback|none|directsync|unsafe][,aio=threads|native|io_uring]" +
        "[,discard=ignore|unmap][,werror=...][,rerror=...]",
      help: ["use 'file' as a drive image; the first one is booted from if there is no kernel"],
      apply: (occurrence) => this.#drive(occurrence, readList(occurrence).values),
    },
    ...(["hda", "hdb", "hdc", "hdd"] as const).map((name, index) => ({
      names: [name] as const,
      argument: "file",
      help: [`as -drive file=...,index=${index}`],
      apply: (occurrence: Occurrence) => this.addImage(occurrence, index),
    })),
    {
      names: ["cdrom"],
      argument: "file",
      help: ["as -drive file=...,index=2,media=cdrom"],
      apply: (occurrence) =>
        this.#drive(occurrence, { file: occurrence.argument, index: "2", media: "cdrom" }, true),
    },
  ];

  /** An image by its name alone. */
  addImage(occurrence: Occurrence, index: number): void {
    const { argument } = occurrence;
    this.#drive(occurrence, { file: argument, index: String(index), media: "disk" }, true);
  }

  #drive(
    { where }: Occurrence,
    values: Readonly<Record<string, string>>,
    forController = false,
  ): void {
    const drive = readDrive(values, where, this.#indexes);
    if (this.#drives.has(drive.id)) {
      throw new OptionError(`${where}Duplicate ID '${drive.id}' for drive`);
    }
    this.#indexes.add(drive.index);
    this.#drives.set(drive.id, { drive, where, forController });
  }

  #blockdev(occurrence: Occurrence): void {
    const { where } = occurrence;
    const { values, dialect, help } = readJsonOrTree(occurrence, "driver");
    if (help || values["driver"] === "help" || values["driver"] === "?") {
      throw new InformationRequest("Available block drivers:\nfile\nhost_device\nnull-co\nraw");
    }
    const node = readBlockNode(values, { dialect, where });
    const { nodeName } = node;
    if (nodeName === undefined) {
      throw new OptionError(`${where}'node-name' must be specified for the root node`);
    }
    const { defined, used } = nodeNames(node);
    for (const name of used) {
      if (this.#nodeNames.has(name)) continue;
      throw new OptionError(`${where}Cannot find device='${name}' nor node-name='${name}'`);
    }
    for (const name of defined) this.#addNodeName(name, where);
    this.#nodes.push({ ...node, nodeName });
  }

  #addNodeName(name: string, where: string): void {
    if (this.#nodeNames.has(name)) {
      throw new OptionError(`${where}Duplicate nodes with node-name='${name}'`);
    }
    this.#nodeNames.add(name);
  }

  /**
   * Looks for drives that the guest would not see: neither a device nor, by its boot sector, the start takes
   * them. Returns warnings; throws for what was given as a disk of a PC.
   */
  checkUse(used: ReadonlySet<string>, bootsFromDisk: boolean): string[] {
    const all = [...this.#drives.values()].filter(({ drive: { node } }) => node !== undefined);
    const booted = bootsFromDisk ? all[0] : undefined;
    return all.flatMap((given) => {
      const { drive: { id }, where, forController } = given;
      if (used.has(id) || given === booted) return [];
      const remedy = `add '-device virtio-blk-device,drive=${id}'`;
      if (!forController) return [`warning: nothing uses the drive '${id}': ${remedy}`];
      throw new OptionError(
        `${where}the board has no disk controller, the guest would not see this disk: ${remedy}, or leave it out`,
      );
    });
  }

  finish(): {
    readonly drives: readonly DriveConfig[];
    readonly blockNodes: readonly BlockNodeConfig[];
    /** Of all nodes that have one. */
    readonly nodeNames: readonly string[];
  } {
    const drives = [...this.#drives.values()];
    for (const { drive: { id, node }, where } of drives) {
      if (this.#nodeNames.has(id)) {
        throw new OptionError(`${where}Device name '${id}' conflicts with an existing node name`);
      }
      for (const name of node === undefined ? [] : nodeNames(node).defined) {
        this.#addNodeName(name, where);
      }
    }
    return {
      drives: drives.map(({ drive }) => drive),
      blockNodes: this.#nodes,
      nodeNames: [...this.#nodeNames],
    };
  }
}
