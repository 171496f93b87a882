/**
 * This checkout as it goes into an outer machine, to run its tests there: with what was built and with
 * Deno's cache, so that nothing is fetched or transpiled where everything is slow. The cache knows files
 * by their paths: inside/init mounts the folder at the path that it has here.
 */
import { run, runForText } from "./commands.ts";

const root = new URL("../../", import.meta.url).pathname;

/** Where Deno keeps modules, with a `~` that is the same in the outer machine: root's. */
const CACHE = "root/.cache/deno";
/** Built files that tests and programs use. */
const built = ["build/libmolt.so", "build/guests"];

/** The folder of the checkout, in the outer machine too. */
export const checkoutFolder = root.slice(0, -1);

/** Copies the checkout and Deno's cache below `tree`. */
export async function copyCheckout(tree: string, testFiles: readonly string[]): Promise<void> {
  const options = { directory: root };
  await run(["sh", "ffi/build.sh"], options);
  await run(["sh", "test/guests/build.sh"], options);
  // Fills the cache.
  const programs = ["main.ts", "scripts/*.ts", ...testFiles];
  await run(["sh", "-c", `'${Deno.execPath()}' cache --quiet ${programs.join(" ")}`], options);
  await copyCheckoutFiles(`${tree}/checkout`);
  const info = JSON.parse(await runForText([Deno.execPath(), "info", "--json"]));
  await copy(info.denoDir, ["npm", `gen/file${checkoutFolder}`], `${tree}/${CACHE}`);
}

/** Copies the checkout's files, changed and new ones among them, and what is built of it. */
export async function copyCheckoutFiles(to: string): Promise<void> {
  await copy(root, [...await sources(), ...built], to);
}

/** Paths of the checkout's own files, new ones among them. */
async function sources(): Promise<string[]> {
  const list = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"];
  const names = (await runForText(list, { directory: root })).split("\0");
  const there = await Promise.all(names.map((name) => name !== "" && exists(`${root}${name}`)));
  return names.filter((_, i) => there[i]);
}

async function exists(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}

/** Copies `paths`, relative to `from`, to the same places below `to`. */
async function copy(from: string, paths: readonly string[], to: string): Promise<void> {
  const list = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(list, paths.map((path) => `${path}\0`).join(""));
    await Deno.mkdir(to, { recursive: true });
    const pack = `tar -C "$1" --null -T "$2" -cf - | tar -C "$3" -xf -`;
    await run(["sh", "-c", pack, "sh", from, list, to]);
  } finally {
    await Deno.remove(list);
  }
}
