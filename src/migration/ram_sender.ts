/** Chooses how RAM leaves: by the migration's mode, its capabilities and its channel. */
import { SEEKABLE_TRANSPORT } from "../channel/address.ts";
import type { OutgoingChannel } from "../channel/channel.ts";
import { OutgoingFile } from "../channel/file.ts";
import type { Compression } from "../native/multifd.ts";
import type { CapabilitySet } from "./capabilities.ts";
import { MigrationError } from "./errors.ts";
import { MappedRamTransport } from "./mapped_ram/transport.ts";
import { type MultifdOptions, MultifdTransport } from "./multifd/transport.ts";
import type { MigrationMode, MigrationParameters } from "./parameters.ts";
import type { StreamProperties } from "./properties.ts";
import type { CpuThrottle } from "./ram/auto_converge.ts";
import { InPlaceSender } from "./ram/in_place.ts";
import { MainStreamTransport } from "./ram/main_stream.ts";
import { PrecopySender } from "./ram/precopy.ts";
import type { RamListing, RamSender } from "./ram/sender.ts";
import type { PageTransport } from "./ram/transport.ts";
import { guestAddressOf, type MigratableMachine } from "./source.ts";
import type { StreamWriter } from "./stream/stream_writer.ts";

/** What the choice depends on, and what the sender works with. */
export interface RamSenderOptions {
  readonly mode: MigrationMode;
  readonly capabilities: CapabilitySet;
  readonly parameters: () => MigrationParameters;
  readonly source: MigratableMachine;
  readonly channel: OutgoingChannel;
  /** Connects to the destination once more. */
  readonly connect: () => OutgoingChannel | Promise<OutgoingChannel>;
  readonly stream: StreamProperties;
  readonly writer: StreamWriter;
  readonly flush: () => Promise<void>;
  /** auto-converge, if it is on. */
  readonly throttle: CpuThrottle | undefined;
  readonly signal: AbortSignal;
  readonly passBegan: (pass: number) => void;
}

/** The sender for a migration. Throws what its channel cannot do. */
export function createRamSender(options: RamSenderOptions): RamSender {
  const { mode, writer, source, passBegan, parameters, throttle } = options;
  switch (mode) {
    case "cpr-exec":
    case "cpr-transfer":
      return new InPlaceSender(writer, listBlocks(options));
    case "normal":
    case "cpr-reboot":
      break;
  }
  return new PrecopySender({
    writer,
    flush: options.flush,
    listings: listBlocks(options),
    sources: { tracker: source.dirtyTracker, memory: source.memory },
    transport: pageTransport(options),
    parameters: () => {
      const now = parameters();
      return {
        maxBandwidth: Number(now["max-bandwidth"]),
        downtimeLimit: now["downtime-limit"],
        switchoverBandwidth: Number(now["avail-switchover-bandwidth"]),
      };
    },
    ...(throttle === undefined ? {} : {
      autoConverge: {
        throttle,
        parameters: () => {
          const now = parameters();
          return {
            triggerThreshold: now["throttle-trigger-threshold"],
            initial: now["cpu-throttle-initial"],
            increment: now["cpu-throttle-increment"],
            tailslow: now["cpu-throttle-tailslow"],
            maximum: now["max-cpu-throttle"],
          };
        },
      },
    }),
    signal: options.signal,
    passBegins: passBegan,
  });
}

/** All blocks. With x-ignore-shared, pages in a shared file with a name stay where they are. */
function listBlocks({ source, capabilities }: RamSenderOptions): RamListing[] {
  return source.blocks.map((block) =>
    capabilities.has("x-ignore-shared")
      ? {
        block,
        guestAddress: guestAddressOf(block, source),
        ignored: block.backing.kind === "path",
      }
      : { block, ignored: false }
  );
}

function pageTransport(options: RamSenderOptions): PageTransport {
  const { capabilities, channel, writer, parameters } = options;
  const now = parameters();
  const detectZero = now["zero-page-detection"] !== "none";
  const multifd = capabilities.has("multifd");
  if (capabilities.has("mapped-ram")) {
    if (!(channel instanceof OutgoingFile)) {
      throw new MigrationError(SEEKABLE_TRANSPORT);
    }
    return new MappedRamTransport({
      writer,
      file: channel,
      channels: multifd ? now["multifd-channels"] : 1,
      directIo: multifd && now["direct-io"],
      detectZero,
    });
  }
  const main = new MainStreamTransport({ writer, channel, detectZero });
  return multifd ? multifdTransport(options, main) : main;
}

function multifdTransport(options: RamSenderOptions, main: MainStreamTransport): MultifdTransport {
  const now = options.parameters();
  return new MultifdTransport({
    writer: options.writer,
    connect: options.connect,
    channels: now["multifd-channels"],
    uuid: options.source.uuid,
    compression: multifdCompression(now),
    zeroPages: zeroPages(now["zero-page-detection"], main),
    flushAfterEachSection: options.stream.flushAfterEachSection,
    signal: options.signal,
  });
}

function multifdCompression(parameters: MigrationParameters): Compression {
  const kind = parameters["multifd-compression"];
  switch (kind) {
    case "none":
      return { kind };
    case "zlib":
      return { kind, level: parameters["multifd-zlib-level"] };
    case "zstd":
      return { kind, level: parameters["multifd-zstd-level"] };
  }
}

function zeroPages(
  detection: MigrationParameters["zero-page-detection"],
  main: MainStreamTransport,
): MultifdOptions["zeroPages"] {
  switch (detection) {
    case "multifd":
      return { kind: "in packets" };
    case "legacy":
      return { kind: "in main stream", main };
    case "none":
      return { kind: "not detected" };
  }
}
