/**
 * Saved form of a request that a device has taken from a queue and not finished: 49168 bytes in the
 * host's byte order (little-endian), with room for 1024 buffers in each direction.
 *
 * | offset | content                                                     |
 * | ------ | ----------------------------------------------------------- |
 * | 0      | u32 head descriptor                                         |
 * | 4      | u32 number of out buffers (read by the device)              |
 * | 8      | u32 number of in buffers (written by the device)            |
 * | 16     | u64[1024] guest addresses of in buffers, then of out buffers |
 * | 16400  | 1024 times u64 0, u64 length: in buffers, then out buffers  |
 *
 * A device that offers VIRTIO_F_RING_PACKED writes a u32 (big-endian) number of descriptors before it.
 */
import { Field, type StateReader, type StateWriter, VmStateError } from "../../vmstate/vmstate.ts";

const slots = 1024;
const elementSize = 49168;
const addressesOffset = 16;
const lengthsOffset = addressesOffset + 2 * slots * 8;

/** A piece of guest memory. */
export interface ElementBuffer {
  /** Guest physical address. */
  readonly address: bigint;
  /** Length in bytes. */
  readonly length: bigint;
}

/** A request that is in the device's hands. */
export interface QueueElementState {
  /** Descriptor that heads its chain. */
  readonly index: number;
  /** Buffers that the device reads. */
  readonly out: readonly ElementBuffer[];
  /** Buffers that the device writes. */
  readonly in: readonly ElementBuffer[];
  /** Descriptors in its chain; known only with packed rings. */
  readonly descriptors: number | undefined;
}

/** A request taken from a queue. `packed`: the device offers VIRTIO_F_RING_PACKED. */
export class QueueElementField extends Field<QueueElementState> {
  readonly type = "struct";
  readonly fixedSize: number;
  readonly #packed: boolean;

  constructor(packed: boolean) {
    super();
    this.#packed = packed;
    this.fixedSize = elementSize + (packed ? 4 : 0);
  }

  read(reader: StateReader): QueueElementState {
    const descriptors = this.#packed ? reader.u32() : undefined;
    const start = reader.skip(elementSize);
    const view = new DataView(reader.bytes.buffer, reader.bytes.byteOffset + start, elementSize);
    const outCount = view.getUint32(4, true);
    const inCount = view.getUint32(8, true);
    if (outCount > slots || inCount > slots) {
      throw reader.error(`request with ${outCount} and ${inCount} buffers, of ${slots}`, start + 4);
    }
    const buffers = (direction: 0 | 1, count: number) =>
      Array.from({ length: count }, (_, index) => {
        const slot = direction * slots + index;
        return {
          address: view.getBigUint64(addressesOffset + slot * 8, true),
          length: view.getBigUint64(lengthsOffset + slot * 16 + 8, true),
        };
      });
    return {
      index: view.getUint32(0, true),
      out: buffers(1, outCount),
      in: buffers(0, inCount),
      descriptors,
    };
  }

  write(writer: StateWriter, value: QueueElementState): void {
    if (value.out.length > slots || value.in.length > slots) {
      throw new VmStateError(
        `request with ${value.out.length} and ${value.in.length} buffers, of ${slots}`,
      );
    }
    if (this.#packed) writer.u32(value.descriptors ?? 0);
    const bytes = new Uint8Array(elementSize);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, value.index, true);
    view.setUint32(4, value.out.length, true);
    view.setUint32(8, value.in.length, true);
    [value.in, value.out].forEach((buffers, direction) =>
      buffers.forEach((buffer, index) => {
        const slot = direction * slots + index;
        view.setBigUint64(addressesOffset + slot * 8, buffer.address, true);
        view.setBigUint64(lengthsOffset + slot * 16 + 8, buffer.length, true);
      })
    );
    writer.raw(bytes);
  }

  zero(): QueueElementState {
    return { index: 0, out: [], in: [], descriptors: undefined };
  }
}
