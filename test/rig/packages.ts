/**
 * Debian packages, fetched once and kept unpacked in the user's cache folder. Nothing is installed on
 * the host.
 */
import { CommandError, run, runForText } from "./commands.ts";

/** Tools of the machines in the rig, and those that build them. */
const toolPackages = ["busybox-static", "passt", "lz4"] as const;

/** The package that depends on the newest kernel for virtual machines. */
const KERNEL_PACKAGE = "linux-image-cloud-amd64";

/** The unpacked packages. */
export interface Packages {
  /** The kernel's release, such as `6.1.0-56-cloud-amd64`. */
  readonly release: string;
  readonly kernel: string;
  /** Where the kernel's modules are. */
  readonly modules: string;
  readonly busybox: string;
  readonly passt: string;
  readonly lz4: string;
}

/** The user's cache folder for the rig. */
export function cacheFolder(): string {
  return `${userCache()}/molt/rig`;
}

/** Where scripts/peer_qemu.sh installs QEMU. */
export function peerQemuFolder(): string {
  return Deno.env.get("PEER_QEMU_DIR") ?? `${userCache()}/peer-qemu`;
}

function userCache(): string {
  return Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME") ?? "/root"}/.cache`;
}

/**
 * Fetches what is not there yet. `refresh`: asks for newer packages; otherwise the same ones are used
 * as long as the folder exists.
 */
export async function fetchPackages(refresh: boolean): Promise<Packages> {
  const folder = `${cacheFolder()}/packages`;
  if (refresh) await Deno.remove(folder, { recursive: true }).catch(ignoreAbsence);
  await Deno.mkdir(folder, { recursive: true });
  const release = await kernelRelease(folder);
  const image = `linux-image-${release}`;
  const names = [`${image}-unsigned`, ...toolPackages];
  for (const name of names) await fetchPackage(folder, name);
  return {
    release,
    kernel: `${folder}/${image}-unsigned/boot/vmlinuz-${release}`,
    modules: `${folder}/${image}-unsigned/lib/modules/${release}/kernel`,
    busybox: `${folder}/busybox-static/bin/busybox`,
    passt: `${folder}/passt/usr/bin/passt`,
    lz4: `${folder}/lz4/usr/bin/lz4`,
  };
}

/** The release that an earlier run has used, or the newest. */
async function kernelRelease(folder: string): Promise<string> {
  for await (const { name } of Deno.readDir(folder)) {
    const release = name.match(/^linux-image-(.+)-unsigned$/)?.[1];
    if (release !== undefined) return release;
  }
  const find = async () => {
    const text = await runForText(["apt-cache", "show", KERNEL_PACKAGE]);
    return text.match(/^Depends:.*linux-image-(\S+)/m)?.[1];
  };
  const release = await find().catch(() => undefined) ?? await updateLists().then(find);
  if (release === undefined) throw new Error(`apt does not know the package ${KERNEL_PACKAGE}`);
  return release;
}

async function fetchPackage(folder: string, name: string): Promise<void> {
  const target = `${folder}/${name}`;
  if (await exists(target)) return;
  console.log(`fetching ${name}`);
  const work = await Deno.makeTempDir({ dir: folder, prefix: "work-" });
  try {
    // As root, apt would try to become a user who cannot write here.
    const download = () =>
      run(["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", name], {
        directory: work,
      });
    // The lists may name a version that the server has replaced since.
    await download().catch(async (error) => {
      if (!(error instanceof CommandError)) throw error;
      await updateLists();
      return await download();
    });
    for await (const { name: file } of Deno.readDir(work)) {
      await run(["dpkg-deb", "-x", `${work}/${file}`, `${work}/unpacked`]);
    }
    // Complete or not there at all.
    await Deno.rename(`${work}/unpacked`, target);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

async function updateLists(): Promise<void> {
  console.log("updating apt's lists");
  await run(["apt-get", "update", "-q"]);
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, (error) => {
    ignoreAbsence(error);
    return false;
  });
}

function ignoreAbsence(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
