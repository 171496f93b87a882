/** The in-kernel i8254: struct kvm_pit_state2. Times there are CLOCK_MONOTONIC, ours virtual. */
import type { Resettable, RunStateListener } from "../devices/device.ts";
import { type PitChannelState, type PitState, pitState } from "../devices/pit_state.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";
import type { KvmVm } from "./vm.ts";

/** Input frequency of the PIT in Hz. */
const FREQUENCY = 1193182n;
const SECOND = 1_000_000_000n;
const CHANNEL_SIZE = 24;
const FLAGS = 72;
const HPET_LEGACY = 1;

/** The byte fields of struct kvm_pit_channel_state from offset 6 on. */
const byteFields = [
  "countLatched",
  "statusLatched",
  "status",
  "readState",
  "writeState",
  "writeLatch",
  "rwMode",
  "mode",
  "bcd",
  "gate",
] as const satisfies readonly (keyof PitChannelState)[];

/** The clock that the PIT's saved times refer to. */
export interface PitClock {
  now(): bigint;
  /** Virtual time minus CLOCK_MONOTONIC. */
  readonly offsetFromHost: bigint;
}

/** The interval timer. While the machine is stopped its state is held here, so that it is paused. */
export class Pit implements SavedDevice<PitState>, Resettable, RunStateListener {
  readonly idstr = "i8254";
  readonly instanceId = 0;
  readonly description = pitState;
  readonly #vm: KvmVm;
  readonly #clock: PitClock;
  /** While the machine is stopped. */
  #held: PitState | undefined = powerOn();

  constructor(vm: KvmVm, clock: PitClock) {
    this.#vm = vm;
    this.#clock = clock;
  }

  runStateChanged(running: boolean): void {
    if (!running) {
      this.#held = this.#read();
      return;
    }
    if (this.#held === undefined) return;
    this.#write(this.#held);
    this.#held = undefined;
  }

  save(): PitState {
    return this.#held ?? this.#read();
  }

  load(state: PitState): void {
    this.#held = state;
  }

  /** Also while the machine runs: its vCPUs are parked then. */
  reset(): void {
    const state = powerOn();
    if (this.#held !== undefined) this.#held = state;
    else this.#write(state);
  }

  #read(): PitState {
    const bytes = this.#vm.getPit();
    const view = new DataView(bytes.buffer);
    const offset = this.#clock.offsetFromHost;
    const channels = [0, 1, 2].map((index) => {
      const at = CHANNEL_SIZE * index;
      const channel = powerOnChannel(index);
      channel.count = view.getUint32(at, true);
      channel.latchedCount = view.getUint16(at + 4, true);
      byteFields.forEach((field, i) => channel[field] = view.getUint8(at + 6 + i));
      const loaded = view.getBigInt64(at + 16, true);
      if (loaded !== 0n) channel.countLoadTime = loaded + offset;
      return channel;
    });
    const first = channels[0] ?? powerOnChannel(0);
    first.nextTransitionTime = nextTransition(first, this.#clock.now());
    return {
      irqDisabled: view.getUint32(FLAGS, true) & HPET_LEGACY,
      channels,
      nextTransitionTime: first.nextTransitionTime,
    };
  }

  #write(state: PitState): void {
    const bytes = new Uint8Array(112);
    const view = new DataView(bytes.buffer);
    const offset = this.#clock.offsetFromHost;
    state.channels.forEach((channel, index) => {
      const at = CHANNEL_SIZE * index;
      view.setUint32(at, channel.count, true);
      view.setUint16(at + 4, channel.latchedCount, true);
      byteFields.forEach((field, i) => view.setUint8(at + 6 + i, channel[field]));
      view.setBigInt64(at + 16, channel.countLoadTime - offset, true);
    });
    view.setUint32(FLAGS, state.irqDisabled ? HPET_LEGACY : 0, true);
    this.#vm.setPit(bytes);
  }
}

function powerOnChannel(index: number): PitChannelState {
  const SPEAKER = 2;
  return {
    count: 0x10000,
    latchedCount: 0,
    countLatched: 0,
    statusLatched: 0,
    status: 0,
    readState: 0,
    writeState: 0,
    writeLatch: 0,
    rwMode: 0,
    mode: 3,
    bcd: 0,
    gate: index === SPEAKER ? 0 : 1,
    countLoadTime: 0n,
    nextTransitionTime: 0n,
  };
}

function powerOn(): PitState {
  return { irqDisabled: 0, channels: [0, 1, 2].map(powerOnChannel), nextTransitionTime: 0n };
}

/** Virtual-clock ns of the next change of a channel's output after `now`, -1 if there is none. */
function nextTransition(channel: PitChannelState, now: bigint): bigint {
  const count = BigInt(channel.count);
  const ticks = (now - channel.countLoadTime) * FREQUENCY / SECOND;
  const cycle = ticks / count * count;
  let next: bigint;
  switch (channel.mode) {
    case 2: // low for one tick at the end of each cycle
      next = ticks === cycle && ticks !== 0n ? cycle + count : cycle + count + 1n;
      break;
    case 3: { // a square wave
      const half = (count + 1n) >> 1n;
      next = ticks - cycle < half ? cycle + half : cycle + count;
      break;
    }
    case 4:
    case 5: // a strobe of one tick
      if (ticks > count) return -1n;
      next = ticks < count ? count : count + 1n;
      break;
    default: // a single edge
      if (ticks >= count) return -1n;
      next = count;
  }
  const time = channel.countLoadTime + next * SECOND / FREQUENCY;
  return time > now ? time : now + 1n;
}
