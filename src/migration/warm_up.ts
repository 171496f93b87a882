/**
 * What has to happen while the guest is paused is done some times over before, for nothing: the code
 * is compiled by then, and what it touches is near. Without that the first saving of a machine takes
 * ten times as long as the thirtieth.
 */
import { StreamChannel } from "../channel/stream.ts";
import type { MachineEvent } from "../machine/machine_events.ts";
import { RingStateError } from "../devices/virtio/transport.ts";
import { endSending, socketPair } from "../native/socket.ts";
import type { CapabilitySet } from "./capabilities.ts";
import { Ownership } from "./cpr/ownership.ts";
import { Timeline } from "./cpr/timeline.ts";
import { saveDevice, saveDevices } from "./device_state.ts";
import { type IncomingDependencies, IncomingMigration, type IncomingPlan } from "./incoming.ts";
import { ParameterStore } from "./parameters.ts";
import { defaultStreamProperties } from "./properties.ts";
import { InPlaceSender } from "./ram/in_place.ts";
import { MOLT_PING } from "./return_path.ts";
import { type MigratableMachine, streamConfiguration } from "./source.ts";
import type { MigrationStatus } from "./status.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";
import { StreamWriter } from "./stream/stream_writer.ts";

/** How often a source saves. Each time costs the running guest some tenths of a millisecond. */
const SAVES = 12;
/** The guest runs for so many ms in between. */
const PAUSE = 1;
/** How long, in ms, the engine's compiler gets to finish what it has begun then. */
const SETTLING = 30;
/** How often a destination loads: it gets hardly faster then. */
const LOADS = 40;

/**
 * Dry run of the saving of a machine that may be running: it is stopped while its state is read. Throws the
 * signal's reason soon after it is aborted.
 */
export async function warmUpSaving(
  source: MigratableMachine,
  signal: AbortSignal,
): Promise<void> {
  const writer = new StreamWriter();
  for (let time = 0; time < SAVES; time++) {
    signal.throwIfAborted();
    // The first time takes long: the guest runs between one device and the next.
    if (time === 0) saveOneByOne(writer, source);
    else source.machine.whileParked(() => saveDevices(writer, source, "running"));
    writer.finish(!source.suppressDescription);
    writer.take();
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  await new Promise((resolve) => setTimeout(resolve, SETTLING));
}

function saveOneByOne(writer: StreamWriter, { machine, sections }: MigratableMachine): void {
  sections.forEach((section, index) =>
    machine.whileParked(() => saveDevice(writer, section, index))
  );
}

/** Where the events of a dry run go: nowhere. */
export interface WarmUpEvents {
  emit(event: MachineEvent | { name: "MIGRATION"; data: { status: MigrationStatus } }): void;
  hold(): void;
  release(): void;
}

/**
 * Dry run of the arrival of a guest whose memory is there: a machine that waits loads its own state and
 * starts its own clocks, all in the way in which the guest will come. `events` are of the kind that the
 * real ones are.
 */
export async function warmUpArrival(
  target: MigratableMachine,
  events: WarmUpEvents,
): Promise<void> {
  using ownership = Ownership.create();
  using timeline = new Timeline(undefined, "monitor");
  const stream = await ownStream(target, ownership);
  for (let time = 0; time < LOADS; time++) {
    const [here, there] = socketPair();
    using source = new StreamChannel(here, true);
    using channel = new StreamChannel(there, true);
    await source.write(stream);
    endSending(source.fd);
    await arrive(target, events, { channel, timeline, ownership, starts: true });
  }
}

/**
 * A copy of a guest's state, which `channel` brings, is loaded by a machine that waits, over the memory that
 * was handed over. Nothing runs afterwards either. Throws what is wrong.
 */
export async function tryArrival(
  target: MigratableMachine,
  events: WarmUpEvents,
  channel: StreamChannel,
): Promise<void> {
  using timeline = new Timeline(undefined, "interim");
  const sections = target.sections.map(whileGuestRuns);
  await arrive({ ...target, sections }, events, {
    channel,
    timeline,
    ownership: undefined,
    starts: false,
  });
}

/** The guest goes on with its rings: positions that were copied before need not fit them any more. */
function whileGuestRuns(section: SavedDevice): SavedDevice {
  const { idstr, instanceId, description, writtenBy } = section;
  return {
    ...{ idstr, instanceId, description },
    ...(writtenBy === undefined ? {} : { writtenBy }),
    ...(section.present === undefined ? {} : { present: () => section.present?.() ?? true }),
    save: () => section.save(),
    load: (state) => {
      try {
        section.load(state);
      } catch (error) {
        if (!(error instanceof RingStateError)) throw error;
      }
    },
  };
}

interface DryArrival {
  readonly channel: StreamChannel;
  readonly timeline: Timeline;
  readonly ownership: Ownership | undefined;
  /** The clocks start. */
  readonly starts: boolean;
}

async function arrive(
  target: MigratableMachine,
  events: WarmUpEvents,
  { channel, timeline, ownership, starts }: DryArrival,
): Promise<void> {
  const nothing: CapabilitySet = new Set();
  const parameters = new ParameterStore().values;
  const names = new Set(target.blocks.map(({ name }) => name));
  const plan: IncomingPlan = {
    handedOver: () => ({ names, ownership }),
    capabilities: () => nothing,
    parameters: () => parameters,
    stream: defaultStreamProperties,
    startAfterLoad: () => starts,
  };
  const dependencies: IncomingDependencies = {
    timeline,
    statusChanged: (status) => events.emit({ name: "MIGRATION", data: { status } }),
    guestComes: () => events.hold(),
    guestArrived: () => events.release(),
  };
  const machine = target.machine.warmUpCopy((event) => events.emit(event));
  const practice = { ...target, machine };
  await new IncomingMigration(dependencies, () => practice, plan).receiveFrom(channel);
  machine.stop();
}

/** The devices of a machine that may be running, as a stream to be loaded over the same memory. */
export async function copyState(source: MigratableMachine): Promise<Uint8Array<ArrayBuffer>> {
  const writer = new StreamWriter();
  writer.begin(streamConfiguration(source, new Set()));
  await writeState(writer, source, (save) => source.machine.whileParked(save));
  return writer.take();
}

/** The machine as it is, as the stream of a cpr-transfer to its end. */
async function ownStream(
  target: MigratableMachine,
  ownership: Ownership,
): Promise<Uint8Array<ArrayBuffer>> {
  const writer = new StreamWriter();
  writer.begin(streamConfiguration(target, new Set()));
  writer.command({ name: "OPEN_RETURN_PATH" });
  writer.command({ name: "PING", value: 1 });
  writer.command({ name: "PING", value: MOLT_PING });
  writer.command({ name: "PING", value: ownership.number });
  await writeState(writer, target, (save) => save());
  return writer.take();
}

/** Everything behind the configuration. `whileParked` has the devices saved at one moment. */
async function writeState(
  writer: StreamWriter,
  target: MigratableMachine,
  whileParked: (save: () => void) => void,
): Promise<void> {
  const listings = target.blocks.map((block) => ({ block, ignored: false }));
  await using ram = new InPlaceSender(writer, listings);
  await ram.begin();
  writer.command({ name: "SWITCHOVER_START" });
  await ram.finish();
  whileParked(() => saveDevices(writer, target, "running"));
  writer.finish(!target.suppressDescription);
}
