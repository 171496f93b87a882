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
export interface MigrationDependencies {
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
  /** Reports a change of status. */
  readonly statusChanged: (status: MigrationStatus) => void;
  /** Reports a pass over RAM, counted from 1. */
  readonly passBegan: (pass: number) => void;
  /** Ends the process: a machine could not be loaded, and that was not to be survived. */
  readonly loadFailed: (error: MigrationError) => void;
  /** What a live update does with what survives it. */
  readonly update: UpdateHandover;
  /** The loaded guest is this process's and about to run. */
  readonly guestComes: () => void;
  /** It runs, and its source has reported all: what was handed over with it is used from now on. */
  readonly guestArrived: () => void;
}

/** What a live update does with RAM, connections and all else that survives it. */
export interface UpdateHandover {
  /** What an interim monitor of the guest needs while this process executes its successor. */
  forInterimMonitor(): KeptDescriptor[];
  /** cpr-transfer: the descriptors that go ahead. Clients that come from now on wait. */
  announce(): KeptDescriptor[];
  /**
   * Stops serving what survives, or everything if this process's image is to be replaced (`wholly`), and
   * reports to a successor how far that has come. Throws, naming it, if something cannot be stopped.
   */
  suspend(wholly: boolean): Promise<void>;
  /** cpr-exec: all that is to stay open. Nothing else may run from here to the execve. */
  collect(): KeptDescriptor[];
  /** The guest stays here: serves everything again. For any failure, whatever was done before. */
  rollback(): void;
  /** The guest is another process's, which serves what survives. */
  commit(): void;
}
