/** molt's own subcommands, for people: `molt inspect`, `molt check`. */

/** Runs the subcommand that `argv` names and returns the exit status. */
export async function runSubcommand(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  switch (name) {
    case "inspect": {
      const { inspect } = await import("../inspect/inspect.ts");
      return await inspect(rest);
    }
    case "check": {
      const { check } = await import("./check.ts");
      return await check(rest);
    }
    default:
      throw new Error(`unknown subcommand '${name}'`);
  }
}
