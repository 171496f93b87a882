/** What migrations need of the process around them. */
import type { GivenDescriptors } from "../channel/path.ts";
import type { Blockers } from "./blockers.ts";
import type { KeptDescriptor } from "./cpr/descriptors.ts";
import type { Timeline } from "./cpr/timeline.ts";
import type { MigrationError } from "./errors.ts";
import type { HandedOver } from "./incoming_session.ts";
import type { MigratableMachine } from "./source.ts";
import type { MigrationStatus } from "./status.ts";

/** What migrations need of the process around them. */
export interface MigrationSurroundings {
  /** The machine; absent while it waits for what it is to be built from. */
  readonly source: MigratableMachine | undefined;
  /** What keeps the machine from being migrated. */
  readonly blockers: Blockers | undefined;
  /** What a process before this one handed over; absent if the machine does not come by live update. */
  readonly handedOver: HandedOver | undefined;
  /** The moments of a live update. */
  readonly timeline: Timeline;
  /** Descriptors that monitors were given. */
  readonly given: GivenDescriptors;
  /** Tells of a change of status. */
  readonly statusChanged: (status: MigrationStatus) => void;
  /** Tells of a pass over RAM, counted from 1. */
  readonly passBegan: (pass: number) => void;
  /** Ends the process: a machine could not be loaded, and that was not to be survived. */
  readonly loadFailed: (error: MigrationError) => void;
  /** The descriptors that a live update hands on: RAM, and what subsystems want to keep. */
  readonly keptDescriptors: () => KeptDescriptor[];
  /** Puts everything into its last place before this process's image is replaced. */
  readonly beforeExec: () => Promise<void>;
}
