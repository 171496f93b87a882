/** Every command. Loading this loads zod: import it when the guest runs, or when a client asks. */
import { type CommandTable, commandTable } from "../command.ts";
import { absentCommands } from "./absent.ts";
import { traceCommands } from "./trace.ts";
import { balloonCommands } from "./balloon.ts";
import { blockCommands } from "./block.ts";
import { chardevCommands } from "./chardev.ts";
import { descriptorCommands } from "./descriptors.ts";
import { humanCommands } from "./human.ts";
import { introspectionCommands } from "./introspection.ts";
import { machineCommands } from "./machine.ts";
import { memoryCommands } from "./memory.ts";
import { migrationCommands } from "./migration.ts";
import { networkCommands } from "./network.ts";
import { objectCommands } from "./objects.ts";
import { sessionCommands } from "./session.ts";
import { statusCommands } from "./status.ts";
import { updateCommands } from "./update.ts";
import { yankCommands } from "./yank.ts";

export const commands: CommandTable = commandTable([
  ...sessionCommands,
  ...introspectionCommands,
  ...statusCommands,
  ...updateCommands,
  ...machineCommands,
  ...memoryCommands,
  ...chardevCommands,
  ...descriptorCommands,
  ...blockCommands,
  ...networkCommands,
  ...balloonCommands,
  ...objectCommands,
  ...humanCommands,
  ...migrationCommands,
  ...yankCommands,
  ...absentCommands,
  ...traceCommands,
]);
