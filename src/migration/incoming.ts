/**
 * The destination of a migration: reads a stream to its end, then gives every device its state.
 *
 *   configuration -> block list -> pages ... -> devices -> end of stream -> description
 *
 * Pages go to RAM as they come, device states are kept until the stream is known to be whole. A
 * machine whose load failed has a run state that does not run.
 */
import type { IncomingChannel } from "../channel/channel.ts";
import { ReceivedDevices } from "./device_state.ts";
import { RamReceiver } from "./ram/receiver.ts";
import type { MigratableMachine } from "./source.ts";
import { checkConfiguration } from "./stream/configuration.ts";
import { StreamReader } from "./stream/stream_reader.ts";
import type { RamBlock } from "../memory/ram_block.ts";

/** What the destination works with. */
export interface IncomingContext {
  readonly target: MigratableMachine;
  readonly channel: IncomingChannel;
  /** File offset at which the stream starts. */
  readonly offset: number;
  /** Whether a block is memory that the process before this one used. */
  readonly inherited: (block: RamBlock) => boolean;
  /** A live update: no pages come. */
  readonly inPlace: boolean;
}

/** Bytes read at once, if there are so many: pages come in bulk. */
const READ_SIZE = 1 << 20;

/** Loads the machine. Returns the source's run state before it was stopped. */
export async function receiveMachine(context: IncomingContext): Promise<string> {
  const { target, channel } = context;
  const devices = new ReceivedDevices(target);
  using ram = new RamReceiver({
    blocks: target.blocks,
    inPlace: context.inPlace,
    inherited: context.inherited,
  });
  const reader = new StreamReader({
    devices: (idstr, instanceId) => devices.descriptionsOf(idstr, instanceId),
    offset: context.offset,
    ...(context.inPlace ? {} : { readSize: READ_SIZE }),
    loadPages: (bytes, block) => ram.load(bytes, block),
  });
  const local = {
    machineType: target.machineType,
    capabilities: [],
    ...(target.uuid === undefined ? {} : { uuid: target.uuid }),
  };
  for (;;) {
    const item = reader.next();
    if (item === undefined) {
      const space = reader.space();
      if (channel.seekable) channel.seek(reader.wantedOffset);
      const count = await channel.read(space);
      if (count === 0) reader.end();
      else reader.filled(count);
      continue;
    }
    switch (item.kind) {
      case "configuration":
        checkConfiguration(item.configuration, local, item.offset);
        break;
      case "ram":
        await ram.apply(item.record, reader.bytes);
        break;
      case "device":
        devices.add(item.section.idstr, item.section.instanceId, item.state);
        break;
      case "end of stream":
        devices.apply();
        return devices.runState;
      case "command":
      case "ram begins":
      case "ram ends":
      case "description":
      case "end":
        break;
    }
  }
}
