/** Receiving the RAM of a stream, as a migration does it, into blocks without a machine. */
import type { IncomingChannel } from "../../src/channel/channel.ts";
import { GuestMemory } from "../../src/memory/guest_memory.ts";
import type { RamBlock } from "../../src/memory/ram_block.ts";
import type { MultifdReceiver } from "../../src/migration/multifd/receiver.ts";
import { RamReceiver } from "../../src/migration/ram_receiver.ts";
import { knownSection } from "../../src/migration/stream/known_sections.ts";
import { StreamReader } from "../../src/migration/stream/stream_reader.ts";

/** Where RAM comes from, and where it goes. */
export interface RamReception {
  readonly channel: IncomingChannel;
  readonly blocks: readonly RamBlock[];
  readonly multifd?: MultifdReceiver;
  readonly flushAfterEachSection?: boolean;
}

/** Reads a stream to its end and puts its pages into the blocks. */
export async function receiveRam(
  { channel, blocks, multifd, flushAfterEachSection = false }: RamReception,
): Promise<void> {
  const reader = new StreamReader({ devices: knownSection, pagesInBulk: true });
  const target = { blocks, memory: new GuestMemory([]) };
  using ram = new RamReceiver({ target, channel, reader, multifd, flushAfterEachSection });
  for (;;) {
    const item = reader.next();
    switch (item?.kind) {
      case undefined: {
        const count = await channel.read(reader.space());
        if (count === 0) reader.end();
        else reader.filled(count);
        break;
      }
      case "ram begins":
      case "pages":
      case "ram":
      case "ram ends":
        await ram.take(item);
        break;
      case "end of stream":
        return;
    }
  }
}
