/** molt and its scripts where a certain user can run them, and how to become that user. */
import { commandOf, guestImage } from "../support/programs.ts";

const root = new URL("../../", import.meta.url).pathname;
/** nobody and nogroup; a user needs no entry in /etc/passwd. */
const NOBODY = 65534;

/** Who runs a life's programs. */
export type User = "self" | "kvm";

/** What a user's programs are started with. */
export interface Installation {
  readonly user: User;
  /** Owner of the files that these programs use; undefined: as they are. */
  readonly owner: number | undefined;
  /** Words before a command, which become the user. */
  readonly become: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** molt: program and leading arguments. */
  readonly molt: readonly string[];
  readonly guest: string;
  /** A script of scripts/. */
  readonly script: (name: string) => string[];
}

/** Why this host cannot run lives as a user of group kvm; undefined if it can. */
export function kvmUserObstacle(): string | undefined {
  if (Deno.uid() !== 0) return "only root can become another user";
  const { gid, mode } = Deno.statSync("/dev/kvm");
  if (gid === 0 || gid === null || ((mode ?? 0) & 0o060) !== 0o060) {
    return "/dev/kvm belongs to no group that a user could be in";
  }
  return undefined;
}

/** The checkout that the tests belong to, run as who runs the tests. */
export function ownInstallation(): Installation {
  return {
    user: "self",
    owner: undefined,
    become: [],
    env: {},
    molt: commandOf("molt"),
    guest: guestImage("heartbeat.elf"),
    script: (name) => [Deno.execPath(), ...scriptArguments(root, name)],
  };
}

/**
 * A copy in `folder` that a user may read who may read nothing else of root's: the runtime, its cache,
 * molt, scripts, guest.
 */
export async function kvmInstallation(folder: string): Promise<Installation> {
  const copy = async (from: string, to: string) => {
    const { success, stderr } = await new Deno.Command("cp", {
      args: ["-rL", "--reflink=auto", from, `${folder}/${to}`],
    }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
  };
  for (const name of ["build", "cache"]) Deno.mkdirSync(`${folder}/${name}`);
  for (const name of ["main.ts", "deno.json", "deno.lock", "src", "scripts"]) {
    await copy(`${root}${name}`, name);
  }
  await copy(`${root}build/libmolt.so`, "build/libmolt.so");
  await copy(guestImage("heartbeat.elf"), "build/heartbeat.elf");
  await copy(Deno.execPath(), "deno");
  await copy(`${await denoCache()}/npm`, "cache/npm");
  const compiled = Deno.env.get("MOLT");
  if (compiled !== undefined) await copy(compiled, "molt");
  const deno = `${folder}/deno`;
  const molt = compiled === undefined ? [deno, "run", "-A", `${folder}/main.ts`] : [
    `${folder}/molt`,
  ];
  const { gid } = Deno.statSync("/dev/kvm");
  const become = [
    "setpriv",
    ...[`--reuid=${NOBODY}`, `--regid=${NOBODY}`, `--groups=${gid}`],
  ];
  const env = { DENO_DIR: `${folder}/cache`, HOME: folder };
  await Deno.chmod(folder, 0o755);
  const owned = await new Deno.Command("chown", {
    args: ["-R", `${NOBODY}:${NOBODY}`, `${folder}/cache`],
  }).output();
  if (!owned.success) throw new Error(new TextDecoder().decode(owned.stderr));
  return {
    user: "kvm",
    owner: NOBODY,
    become,
    env,
    molt,
    guest: `${folder}/build/heartbeat.elf`,
    script: (name) => [deno, ...scriptArguments(`${folder}/`, name)],
  };
}

function scriptArguments(folder: string, name: string): string[] {
  return ["run", "-A", "--config", `${folder}deno.json`, `${folder}scripts/${name}`];
}

async function denoCache(): Promise<string> {
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output();
  return JSON.parse(new TextDecoder().decode(stdout)).denoDir;
}
