/** Every human monitor command. */
import type { HumanCommand } from "../command.ts";
import { absentInfo } from "./absent.ts";
import { traceInfo } from "./trace.ts";
import { chardevCommands } from "./chardev.ts";
import { deviceCommands, deviceInfo } from "./devices.ts";
import { helpCommands } from "./help.ts";
import { infoCommand } from "./info.ts";
import { memoryCommands } from "./memory.ts";
import { migrationHumanCommands, migrationInfo } from "./migration.ts";
import { objectCommands } from "./objects.ts";
import { portCommands } from "./ports.ts";
import { snapshotCommands, snapshotInfo } from "./snapshots.ts";
import { runCommands } from "./run.ts";

export const humanCommands: readonly HumanCommand[] = [
  ...helpCommands,
  infoCommand([...deviceInfo, ...migrationInfo, ...snapshotInfo, ...absentInfo, ...traceInfo]),
  ...deviceCommands,
  ...runCommands,
  ...migrationHumanCommands,
  ...memoryCommands,
  ...chardevCommands,
  ...objectCommands,
  ...portCommands,
  ...snapshotCommands,
].sort((a, b) => a.names < b.names ? -1 : 1);
