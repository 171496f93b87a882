/** Which files a configuration names relative to the folder in which the program was started. */
import type { ChardevOptions } from "./chardev.ts";
import type { BlockNode } from "./block.ts";
import type { NetworkAddress } from "./network.ts";
import type { ObjectConfig } from "./object.ts";
import type { VirtualMachineConfig } from "./virtual_machine.ts";

/** The relative paths among what `config` names, in no order that matters. */
export function relativePaths(config: VirtualMachineConfig): string[] {
  const { boot, process, log, qtest } = config;
  const nodes = [...config.blockNodes, ...config.drives.flatMap(({ node }) => node ?? [])];
  const paths = [
    ...[boot.kernel, boot.initrd, boot.firmware, boot.splash],
    ...[process.pidFile, log.file, ...log.traceFiles, qtest?.log],
    ...config.firmwareItems.map(({ content }) =>
      content.kind === "file" ? content.path : undefined
    ),
    ...config.accelerators.map((accelerator) =>
      accelerator.kind === "kvm" ? accelerator.device : undefined
    ),
    ...config.chardevs.flatMap(chardevPaths),
    ...config.objects.map(objectPath),
    ...nodes.map(nodePath),
    ...config.netdevs.flatMap((netdev) => {
      if (netdev.type === "stream") return [addressPath(netdev.address)];
      if (netdev.type === "dgram") return [addressPath(netdev.local), addressPath(netdev.remote)];
      const { source } = netdev;
      return source.kind === "interface" ? [source.script, source.downscript] : [];
    }),
  ];
  return paths.filter((path) => path !== undefined)
    .filter((path) => path !== "" && !path.startsWith("/"));
}

function chardevPaths({ backend, logfile }: ChardevOptions): (string | undefined)[] {
  switch (backend.kind) {
    case "file":
      return [logfile, backend.path, backend.inputPath];
    case "pty":
    case "pipe":
      return [logfile, backend.path];
    case "socket": {
      const { address } = backend;
      return [logfile, address.kind === "unix" && !address.abstract ? address.path : undefined];
    }
    default:
      return [logfile];
  }
}

function objectPath(object: ObjectConfig): string | undefined {
  if (object.type === "rng-random") return object.filename;
  return object.type === "memory-backend" && object.kind === "file" ? object.path : undefined;
}

function nodePath(node: BlockNode): string | undefined {
  if (node.driver === "null-co") return undefined;
  if (node.driver !== "raw") return node.filename;
  return typeof node.file === "string" ? undefined : nodePath(node.file);
}

function addressPath(address: NetworkAddress | undefined): string | undefined {
  return address?.kind === "unix" && !address.abstract ? address.path : undefined;
}
