/**
 * The source of a migration, one phase after the other:
 *
 *   begin        header, configuration, block list
 *   precopy      pages, while the guest runs (not in the CPR modes, which stop it first)
 *   switchover   the guest stops; the remaining pages
 *   devices      every device's state, the description, the end
 *
 * The phases only send. Whatever fails, the caller has the one exit that lets the guest go on.
 */
import type { OutgoingChannel } from "../channel/channel.ts";
import type { RunState } from "../machine/run_state.ts";
import { saveDevices } from "./device_state.ts";
import type { Timeline } from "./cpr/timeline.ts";
import type { MigrationMode } from "./parameters.ts";
import { InPlaceSender } from "./ram/in_place.ts";
import { PageStreamSender } from "./ram/page_stream.ts";
import type { RamSender } from "./ram/sender.ts";
import type { MigratableMachine } from "./source.ts";
import type { MigrationStatus } from "./status.ts";
import { StreamWriter } from "./stream/stream_writer.ts";

/** What the phases work with. */
export interface OutgoingContext {
  readonly source: MigratableMachine;
  readonly mode: MigrationMode;
  readonly channel: OutgoingChannel;
  readonly timeline: Timeline;
  /** Tells of a change of status; throws MigrationCancelled once somebody asked for the end. */
  advance(status: MigrationStatus): void;
}

/** Sends the whole machine. When it resolves, the machine is stopped and the stream complete. */
export async function sendMachine(context: OutgoingContext): Promise<void> {
  const { source, channel, mode, timeline } = context;
  const { machine } = source;
  const runState = machine.runState;
  const writer = new StreamWriter(channel.position);
  const flush = () => channel.write(writer.take());
  await using ram = ramSender(context, writer, flush);

  const stop = () => {
    timeline.mark("stop begins");
    machine.stop("finish-migrate");
    timeline.mark("stopped");
  };
  if (mode !== "normal") stop();
  context.advance("active");
  writer.begin({
    machineType: source.machineType,
    capabilities: [],
    ...(source.uuid === undefined ? {} : { uuid: source.uuid }),
  });
  await ram.begin();
  while (machine.running && !await ram.pass()) await flush();

  if (mode === "normal") stop();
  context.advance("device");
  writer.command({ name: "SWITCHOVER_START" });
  await ram.finish();
  saveDevices(writer, source, savedRunState(runState));
  writer.finish(!source.suppressDescription);
  await flush();
  await channel.finish();
  timeline.mark("saved");
}

/** The run state as the stream tells it: what the destination is to go on with. */
function savedRunState(runState: RunState): RunState {
  return runState === "finish-migrate" ? "paused" : runState;
}

function ramSender(
  { source, mode }: OutgoingContext,
  writer: StreamWriter,
  flush: () => Promise<void>,
): RamSender {
  if (mode === "cpr-exec" || mode === "cpr-transfer") {
    return new InPlaceSender(writer, source.blocks);
  }
  return new PageStreamSender(writer, source.blocks, flush);
}
