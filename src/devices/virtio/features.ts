/** Feature and status bits that all virtio devices share (Virtual I/O Device specification 1.2, chapters 2.1, 6). */

/** A feature's number as its bit. */
export function bit(number: number): bigint {
  return 1n << BigInt(number);
}

/** Features of transport and queues. */
export const Feature = {
  /** Legacy: an interrupt when the available ring is empty, even if none is wanted. */
  notifyOnEmpty: bit(24),
  /** Legacy: buffers of a request may be cut anywhere. */
  anyLayout: bit(27),
  indirectDescriptors: bit(28),
  eventIndex: bit(29),
  version1: bit(32),
  /** The driver may reset a single queue, which virtio-mmio has no register for. */
  ringReset: bit(40),
} as const;

/** Bits of the device status. */
export const Status = {
  acknowledge: 1,
  driver: 2,
  driverOk: 4,
  featuresOk: 8,
  needsReset: 64,
  failed: 128,
} as const;

/** Properties that every virtio device has, by QEMU's names. */
export interface CommonProperties {
  readonly event_idx: boolean;
  readonly indirect_desc: boolean;
  readonly any_layout: boolean;
  readonly notify_on_empty: boolean;
  readonly queue_reset: boolean;
}

/** What a device offers by its properties, before its own features. */
export function commonFeatures(properties: CommonProperties, legacy: boolean): bigint {
  const given = (on: boolean, feature: bigint) => on ? feature : 0n;
  return given(properties.event_idx, Feature.eventIndex) |
    given(properties.indirect_desc, Feature.indirectDescriptors) |
    given(properties.queue_reset, Feature.ringReset) |
    (legacy
      ? given(properties.any_layout, Feature.anyLayout) |
        given(properties.notify_on_empty, Feature.notifyOnEmpty)
      : Feature.version1);
}
