/** Mounting file systems, where the host lets tests do that. */

/** Whether this host lets tests mount file systems. */
export async function canMount(): Promise<boolean> {
  const path = await Deno.makeTempDir();
  try {
    if (!(await run("mount", "-t", "tmpfs", "molt-test", path)).success) return false;
    return (await run("umount", path)).success;
  } finally {
    await Deno.remove(path);
  }
}

/** Runs a program. */
export async function run(program: string, ...args: readonly string[]) {
  const output = await new Deno.Command(program, { args: [...args] }).output();
  return { success: output.success, errors: new TextDecoder().decode(output.stderr).trim() };
}
