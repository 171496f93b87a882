/** Every command. Loading this loads zod: import it when the guest runs, or when a client asks. */
import { type CommandTable, commandTable } from "../command.ts";
import { sessionCommands } from "./session.ts";
import { statusCommands } from "./status.ts";

export const commands: CommandTable = commandTable([
  ...sessionCommands,
  ...statusCommands,
]);
