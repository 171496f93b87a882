/** File systems of the machines in the rig, made without mounting anything. */
import { run, runForText } from "./commands.ts";
import { Initramfs } from "./initramfs.ts";
import { modulesInOrder } from "./kernel.ts";
import type { Packages } from "./packages.ts";

const sources = new URL("./", import.meta.url).pathname;
const root = new URL("../../", import.meta.url).pathname;

/** Drivers of a stock guest. */
const guestModules = [
  ...["virtio_mmio", "virtio_blk", "virtio_net", "virtio-rng", "virtio_console", "virtio_balloon"],
  ...["button", "evdev"],
];
/** Drivers of the machine around it. */
const hostModules = ["virtio_pci", "virtio_blk", "kvm-amd", "tun", "bridge", "dummy"];

/** Options for modules, by file. */
const moduleOptions: Readonly<Record<string, string>> = {
  // The emulator's virtual GIF is a suspect of losing guests (docs/testing.md).
  "kvm-amd.ko": "vgif=0",
};

const topFolders = ["bin", "sbin", "etc", "dev", "proc", "sys", "tmp", "run", "root"];

/** A folder that becomes a file system. */
class Tree {
  constructor(readonly path: string) {}

  async folders(...names: readonly string[]): Promise<void> {
    for (const name of names) await Deno.mkdir(`${this.path}/${name}`, { recursive: true });
  }

  /** Copies a file of the host; the folder has to be there. */
  async file(from: string, to: string, mode = 0o644): Promise<void> {
    await Deno.copyFile(from, `${this.path}/${to}`);
    await Deno.chmod(`${this.path}/${to}`, mode);
  }

  /** Busybox and a link for each of its programs. */
  async busybox(busybox: string): Promise<void> {
    await this.folders(...topFolders);
    await this.file(busybox, "bin/busybox", 0o755);
    for (const name of (await runForText([busybox, "--list"])).trim().split("\n")) {
      if (name !== "busybox") await Deno.symlink("/bin/busybox", `${this.path}/bin/${name}`);
    }
    await Deno.symlink("/bin/busybox", `${this.path}/sbin/init`);
  }

  /** A program of the host with the libraries that it needs. */
  async program(from: string, to: string): Promise<void> {
    await this.file(from, to, 0o755);
    // ldd fails for what was linked statically.
    const list = await runForText(["ldd", from]).catch(() => "");
    for (const library of list.match(/\/\S+/g) ?? []) {
      await this.folders(library.slice(1, library.lastIndexOf("/")));
      await this.file(library, library.slice(1), 0o755);
    }
  }

  /** QEMU with what it needs, from the folder of scripts/peer_qemu.sh and for the same script. */
  async peerQemu(from: string, to: string): Promise<void> {
    const loader = `${from}/lib64/ld-linux-x86-64.so.2`;
    const program = `${from}/usr/bin/qemu-system-x86_64`;
    const libraries = "usr/lib/x86_64-linux-gnu";
    const list = await runForText([
      ...[loader, "--library-path", `${from}/${libraries}`, "--list", program],
    ]);
    const copies = [[loader, "lib64"], [program, "usr/bin"]];
    for (const [, path = ""] of list.matchAll(/ => (\S+)/g)) copies.push([path, libraries]);
    for (const name of ["qemu/qboot.rom", "qemu/linuxboot_dma.bin", "seabios/bios-microvm.bin"]) {
      copies.push([`${from}/usr/share/${name}`, `usr/share/${name.replace(/\/.*/, "")}`]);
    }
    for (const [path = "", folder = ""] of copies) {
      await this.folders(`${to}/${folder}`);
      await this.file(path, `${to}/${folder}/${path.slice(path.lastIndexOf("/") + 1)}`, 0o755);
    }
    await this.folders("scripts");
    await this.file(`${root}scripts/peer_qemu.sh`, "scripts/peer_qemu.sh", 0o755);
  }

  /** Makes an ext4 file system of it. */
  async write(image: string, megabytes: number): Promise<void> {
    const options = ["-O", "^has_journal", "-E", "lazy_itable_init=1,root_owner=0:0"];
    const what = ["-d", this.path, image, `${megabytes}M`];
    await run(["mke2fs", "-q", "-t", "ext4", "-F", ...options, ...what]);
  }
}

/** Compiles the program that works in the guest. */
export async function buildWorker(output: string): Promise<void> {
  const files: string[] = [];
  for await (const { name } of Deno.readDir(`${sources}guest`)) {
    if (name.endsWith(".c")) files.push(`${sources}guest/${name}`);
  }
  const flags = ["-std=gnu17", "-O2", "-static", "-pthread", "-Wall", "-Wextra", "-Werror"];
  await run(["cc", ...flags, "-o", output, ...files.sort()]);
}

/** Adds modules and a list of them in the order to load. */
async function addModules(
  archive: Initramfs,
  { modules }: Packages,
  names: readonly string[],
): Promise<void> {
  const paths = await modulesInOrder(modules, names);
  const base = (path: string) => path.slice(path.lastIndexOf("/") + 1);
  const line = (path: string) => [base(path), moduleOptions[base(path)] ?? ""].join(" ").trim();
  archive.file("modules/order", paths.map((path) => `${line(path)}\n`).join(""));
  for (const path of paths) archive.file(`modules/${base(path)}`, await Deno.readFile(path));
}

async function writeInitramfs(
  packages: Packages,
  init: string,
  modules: readonly string[],
  output: string,
): Promise<void> {
  const archive = new Initramfs().directories("bin", "dev", "proc", "sys", "root", "modules");
  archive.file("bin/busybox", await Deno.readFile(packages.busybox), { executable: true });
  archive.file("init", await Deno.readFile(`${sources}${init}`), { executable: true });
  archive.file("console", await Deno.readFile(`${sources}guest/console`), { executable: true });
  await addModules(archive, packages, modules);
  await Deno.writeFile(output, archive.bytes());
}

/** The stock guest's initial file system and disk. */
export async function buildGuest(
  packages: Packages,
  { folder, worker, initramfs, disk }: {
    readonly folder: string;
    readonly worker: string;
    readonly initramfs: string;
    readonly disk: string;
  },
): Promise<void> {
  await writeInitramfs(packages, "guest/initramfs_init", guestModules, initramfs);
  const tree = new Tree(folder);
  await tree.busybox(packages.busybox);
  await tree.folders("etc/acpi/PWRF");
  await tree.file(worker, "bin/rig", 0o755);
  await tree.file(`${sources}guest/inittab`, "etc/inittab");
  for (const name of ["start", "console"]) {
    await tree.file(`${sources}guest/${name}`, `etc/${name}`, 0o755);
  }
  await tree.file(`${sources}guest/power_button`, "etc/acpi/PWRF/00000080", 0o755);
  await tree.write(disk, 32);
}

/** The initial file system and the disk of the machine in which molt runs. */
export async function buildHost(
  packages: Packages,
  { folder, programs, files, peerQemu, addCheckout, initramfs, disk }: {
    readonly folder: string;
    /** Programs of this host to be found in /bin, by name. */
    readonly programs: Readonly<Record<string, string>>;
    /** Files to be found in /rig, by name. */
    readonly files: Readonly<Record<string, string>>;
    /** The folder of scripts/peer_qemu.sh. */
    readonly peerQemu: string;
    /** Adds the checkout and what its tests need below a folder. */
    readonly addCheckout: (tree: string) => Promise<void>;
    readonly initramfs: string;
    readonly disk: string;
  },
): Promise<void> {
  await writeInitramfs(packages, "inside/initramfs_init", hostModules, initramfs);
  const tree = new Tree(folder);
  await tree.busybox(packages.busybox);
  await tree.folders("rig");
  await tree.peerQemu(peerQemu, "root/.cache/peer-qemu");
  for (const [name, path] of Object.entries(programs)) await tree.program(path, `bin/${name}`);
  for (const [name, path] of Object.entries(files)) await tree.file(path, `rig/${name}`);
  await tree.file(`${sources}inside/init`, "rig/init", 0o755);
  await addCheckout(tree.path);
  await tree.write(disk, 1024);
}
