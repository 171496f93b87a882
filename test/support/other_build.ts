/** A molt that is the same program in other files: what an update brings. */
import { commandOf } from "./programs.ts";

const root = new URL("../../", import.meta.url).pathname;

async function copyTree(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyTree(`${from}/${name}`, `${to}/${name}`);
    else await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}

/** Copies molt into `folder`, which is made. Returns the program and its leading arguments. */
export async function otherBuild(folder: string): Promise<string[]> {
  await Deno.mkdir(folder, { recursive: true });
  const [program = "", ...words] = commandOf("molt");
  if (words.length === 0) {
    await Deno.copyFile(program, `${folder}/molt`);
    return [`${folder}/molt`];
  }
  await copyTree(`${root}src`, `${folder}/src`);
  await Deno.mkdir(`${folder}/build`);
  for (const file of ["main.ts", "deno.json", "deno.lock", "build/libmolt.so"]) {
    await Deno.copyFile(root + file, `${folder}/${file}`);
  }
  return [program, ...words.slice(0, -1), `${folder}/main.ts`];
}
