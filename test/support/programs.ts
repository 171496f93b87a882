/** The programs that tests run machines with: molt, and the QEMU that it has to agree with. */

/** Who runs a machine. */
export type Vmm = "molt" | "qemu";

const root = new URL("../../", import.meta.url).pathname;

/**
 * Program and leading arguments; a machine's options follow. The environment variable MOLT names
 * another molt, such as a compiled one.
 */
export function commandOf(vmm: Vmm): string[] {
  if (vmm === "qemu") return ["sh", `${root}scripts/peer_qemu.sh`];
  const compiled = Deno.env.get("MOLT");
  return compiled === undefined ? [Deno.execPath(), "run", "-A", `${root}main.ts`] : [compiled];
}

/** A test guest that test/guests/build.sh has assembled. */
export function guestImage(name: string): string {
  const path = `${root}build/guests/${name}`;
  try {
    Deno.statSync(path);
  } catch (cause) {
    throw new Error(`${path} is missing: run 'deno task build:guests'`, { cause });
  }
  return path;
}

/** A file of those that QEMU comes with, such as `qboot.rom`. */
export function qemuFile(name: string): string {
  const home = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`;
  const folder = Deno.env.get("PEER_QEMU_DIR") ?? `${home}/peer-qemu`;
  return `${folder}/usr/share/qemu/${name}`;
}
