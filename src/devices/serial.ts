/**
 * The 16550A UART: eight ports, one interrupt, a 16-byte FIFO in either direction.
 *
 * Output: a byte written to THR goes through the transmit FIFO (when on) into the shift register
 * TSR, and from there to the backend at once. If the backend takes nothing, the byte stays in TSR
 * (LSR.TEMT clear, `tsrRetry` above 0) until the backend is writable; later bytes wait in THR or the
 * FIFO with LSR.THRE clear, which is how the guest learns to wait. All of it is saved, so no byte is
 * lost or sent twice by a migration.
 *
 * Input: as many bytes as the FIFO takes; the interrupt comes at the trigger level or when no byte
 * arrived or was read for four character times.
 */
import type { CharacterBackend, CharacterEvent, CharacterFrontend } from "../backends/character.ts";
import {
  type AccessSize,
  type InterruptLine,
  type RegisterRegion,
  type Resettable,
  type RunStateListener,
  type VirtualClock,
  type VirtualTimer,
} from "./device.ts";
import { Fifo8 } from "./fifo8.ts";
import {
  BAUD_BASE,
  characterTime,
  Fcr,
  FIFO_SIZE,
  Ier,
  Iir,
  Lcr,
  Lsr,
  Mcr,
  Msr,
  Port,
  RESET_CHARACTER_TIME,
  RESET_DIVIDER,
  TRIGGER_LEVELS,
} from "./serial_registers.ts";
import { type SerialRegisters, type SerialState, serialState } from "./serial_state.ts";
import { readBytes, writeBytes } from "./split_access.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";

/** A retry count that QEMU accepts; we retry for as long as it takes and count no further. */
const MAXIMUM_RETRY_COUNT = 4;

/** What a UART depends on. */
export interface SerialDependencies {
  irq: InterruptLine;
  clock: VirtualClock;
  backend: CharacterBackend;
}

/** A UART at eight ports. The machine must notify it when it starts and stops. */
export class Serial
  implements
    RegisterRegion,
    CharacterFrontend,
    SavedDevice<SerialState>,
    Resettable,
    RunStateListener {
  readonly idstr = "serial";
  readonly instanceId: number;
  readonly description = serialState;
  readonly #irq: InterruptLine;
  readonly #clock: VirtualClock;
  readonly #backend: CharacterBackend;
  readonly #timeout: VirtualTimer;
  readonly #receiveFifo = new Fifo8(FIFO_SIZE);
  readonly #transmitFifo = new Fifo8(FIFO_SIZE);

  /**
   * All that is saved but the FIFOs and the timer. `thrIpending`: THR became empty and the guest has not been
   * notified or has not looked yet. `tsr.tsrRetry` above 0: TSR holds a byte the backend did not take.
   */
  #state = powerOn();
  #triggerLevel = 1;
  #characterTime = 0n;
  #level = false;
  #running = false;
  #waitingForWritable = false;
  /** The one byte that is being sent; backends do not keep what they are given. */
  readonly #outgoing = new Uint8Array(1);
  readonly #onWritable = () => {
    this.#waitingForWritable = false;
    if (this.#running && this.#state.tsr.tsrRetry > 0) this.#transmit();
  };

  constructor(dependencies: SerialDependencies, instanceId = 0) {
    this.instanceId = instanceId;
    this.#irq = dependencies.irq;
    this.#clock = dependencies.clock;
    this.#backend = dependencies.backend;
    this.#timeout = this.#clock.timer(() => this.#characterTimeout());
    this.#initialize();
    this.#backend.attach(this);
  }

  reset(): void {
    this.#initialize();
    this.#level = false;
    this.#irq.set(false);
    this.#backend.acceptInput();
  }

  #initialize(): void {
    this.#timeout.disarm();
    this.#receiveFifo.clear();
    this.#transmitFifo.clear();
    const { thr, tsr } = this.#state.tsr;
    this.#state = powerOn();
    this.#state.tsr = { tsrRetry: 0, thr, tsr };
    this.#characterTime = RESET_CHARACTER_TIME;
    this.#triggerLevel = 1;
  }

  read(offset: number, size: AccessSize): number {
    if (size !== 1) return readBytes(this, offset, size);
    switch (offset) {
      case Port.lineStatus: {
        const lsr = this.#state.lsr;
        if ((lsr & (Lsr.break | Lsr.overrun)) !== 0) {
          this.#state.lsr = lsr & ~(Lsr.break | Lsr.overrun);
          this.#updateInterrupt();
        }
        return lsr;
      }
      case Port.data:
        return (this.#state.lcr & Lcr.divisorLatch) !== 0
          ? this.#state.divider & 0xff
          : this.#readReceived();
      case Port.interruptEnable:
        return (this.#state.lcr & Lcr.divisorLatch) !== 0
          ? this.#state.divider >> 8
          : this.#state.ier;
      case Port.interruptIdentification: {
        const iir = this.#state.iir;
        if ((iir & Iir.source) === Iir.transmitterEmpty) {
          this.#state.thrIpending = 0;
          this.#updateInterrupt();
        }
        return iir;
      }
      case Port.lineControl:
        return this.#state.lcr;
      case Port.modemControl:
        return this.#state.mcr;
      case Port.modemStatus:
        return this.#readModemStatus();
      default:
        return this.#state.scr;
    }
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (size !== 1) return writeBytes(this, offset, size, value);
    const latch = (this.#state.lcr & Lcr.divisorLatch) !== 0;
    switch (offset) {
      case Port.data:
        if (latch) this.#setDivider((this.#state.divider & 0xff00) | value);
        else this.#writeTransmit(value);
        return;
      case Port.interruptEnable:
        if (latch) this.#setDivider((this.#state.divider & 0x00ff) | (value << 8));
        else this.#writeInterruptEnable(value);
        return;
      case Port.fifoControl:
        this.#writeFifoControl(value);
        return;
      case Port.lineControl:
        this.#state.lcr = value;
        this.#updateCharacterTime();
        return;
      case Port.modemControl:
        this.#state.mcr = value & Mcr.stored;
        return;
      case Port.scratch:
        this.#state.scr = value;
        return;
      default:
        // LSR and MSR are read-only.
        return;
    }
  }

  canReceive(): number {
    if (!this.#running) return 0;
    if ((this.#state.fcr & Fcr.enable) === 0) {
      return (this.#state.lsr & Lsr.dataReady) === 0 ? 1 : 0;
    }
    if (this.#receiveFifo.isFull) return 0;
    // Up to the trigger level and no further before the guest has read, so that the level it chose
    // decides how often it is interrupted. Lowering the level below the fill lets single bytes in.
    const room = this.#triggerLevel - this.#receiveFifo.length;
    return room >= 0 ? room : 1;
  }

  receive(bytes: Uint8Array<ArrayBuffer>): void {
    if ((this.#state.fcr & Fcr.enable) !== 0) {
      for (const byte of bytes) this.#pushReceived(byte);
      this.#state.lsr |= Lsr.dataReady;
      this.#armTimeout();
    } else {
      for (const byte of bytes) {
        if ((this.#state.lsr & Lsr.dataReady) !== 0) this.#state.lsr |= Lsr.overrun;
        this.#state.rbr = byte;
        this.#state.lsr |= Lsr.dataReady;
      }
    }
    this.#updateInterrupt();
  }

  event(event: CharacterEvent): void {
    if (event !== "break") return;
    this.#state.rbr = 0;
    this.#pushReceived(0);
    this.#state.lsr |= Lsr.break | Lsr.dataReady;
    this.#updateInterrupt();
  }

  runStateChanged(running: boolean): void {
    this.#running = running;
    if (!running) return;
    if (this.#state.tsr.tsrRetry > 0) this.#transmit();
    this.#backend.acceptInput();
  }

  save(): SerialState {
    return {
      ...this.#state,
      tsr: { ...this.#state.tsr },
      receiveFifo: this.#receiveFifo.save(),
      transmitFifo: this.#transmitFifo.save(),
      fifoTimeoutTimer: this.#timeout.expiry,
    };
  }

  load(state: SerialState): void {
    this.#initialize();
    const { receiveFifo, transmitFifo, fifoTimeoutTimer, poll: _, ...registers } = state;
    if (receiveFifo !== undefined) this.#receiveFifo.load(receiveFifo);
    if (transmitFifo !== undefined) this.#transmitFifo.load(transmitFifo);
    if (fifoTimeoutTimer !== undefined) this.#timeout.arm(fifoTimeoutTimer);
    const { thrIpending = Number((state.iir & Iir.source) === Iir.transmitterEmpty) } = state;
    const tsr = { ...this.#state.tsr, ...state.tsr };
    this.#state = {
      ...registers,
      ier: state.ier & 0x0f,
      mcr: state.mcr & Mcr.stored,
      thrIpending: thrIpending === 0 ? 0 : 1,
      tsr: { ...tsr, tsrRetry: Math.min(tsr.tsrRetry, MAXIMUM_RETRY_COUNT) },
      timeoutIpending: state.timeoutIpending === 0 ? 0 : 1,
    };
    this.#setFifoControl(state.fcr);
    this.#updateCharacterTime();
    // The interrupt controller brings the line's level with its own state.
    this.#level = (this.#state.iir & Iir.pending) !== Iir.none;
  }

  #readReceived(): number {
    let byte: number;
    if ((this.#state.fcr & Fcr.enable) !== 0) {
      byte = this.#receiveFifo.pop() ?? 0;
      if (this.#receiveFifo.length === 0) this.#state.lsr &= ~(Lsr.dataReady | Lsr.break);
      else this.#armTimeout();
      this.#state.timeoutIpending = 0;
    } else {
      byte = this.#state.rbr;
      this.#state.lsr &= ~(Lsr.dataReady | Lsr.break);
    }
    this.#updateInterrupt();
    this.#backend.acceptInput();
    return byte;
  }

  #readModemStatus(): number {
    if ((this.#state.mcr & Mcr.loopback) !== 0) {
      // The modem outputs are looped back to the modem inputs.
      return ((this.#state.mcr & Mcr.out2) !== 0 ? Msr.dcd : 0) |
        ((this.#state.mcr & Mcr.out1) !== 0 ? Msr.ri : 0) |
        ((this.#state.mcr & Mcr.dtr) !== 0 ? Msr.dsr : 0) |
        ((this.#state.mcr & Mcr.rts) !== 0 ? Msr.cts : 0);
    }
    const msr = this.#state.msr;
    if ((msr & Msr.deltas) !== 0) {
      this.#state.msr = msr & ~Msr.deltas;
      this.#updateInterrupt();
    }
    return msr;
  }

  #writeTransmit(byte: number): void {
    this.#state.tsr.thr = byte;
    if ((this.#state.fcr & Fcr.enable) !== 0) {
      // An overrun of the transmit FIFO overwrites its oldest byte.
      if (this.#transmitFifo.isFull) this.#transmitFifo.pop();
      this.#transmitFifo.push(byte);
    }
    this.#state.thrIpending = 0;
    this.#state.lsr &= ~(Lsr.thrEmpty | Lsr.transmitterEmpty);
    this.#updateInterrupt();
    if (this.#state.tsr.tsrRetry === 0) this.#transmit();
  }

  #writeInterruptEnable(value: number): void {
    const changed = (this.#state.ier ^ value) & 0x0f;
    this.#state.ier = value & 0x0f;
    if ((changed & Ier.transmitterEmpty) !== 0) {
      // Enabling the interrupt while THR is empty raises it.
      const raised = (this.#state.ier & Ier.transmitterEmpty) !== 0 &&
        (this.#state.lsr & Lsr.thrEmpty) !== 0;
      this.#state.thrIpending = raised ? 1 : 0;
    }
    if (changed !== 0) this.#updateInterrupt();
  }

  #writeFifoControl(value: number): void {
    const toggled = ((value ^ this.#state.fcr) & Fcr.enable) !== 0;
    if (toggled || (value & Fcr.clearReceive) !== 0) {
      this.#state.lsr &= ~(Lsr.dataReady | Lsr.break);
      this.#timeout.disarm();
      this.#state.timeoutIpending = 0;
      this.#receiveFifo.clear();
    }
    if (toggled || (value & Fcr.clearTransmit) !== 0) {
      this.#state.lsr |= Lsr.thrEmpty;
      this.#state.thrIpending = 1;
      this.#transmitFifo.clear();
    }
    this.#setFifoControl(value & Fcr.stored);
    this.#updateInterrupt();
    this.#backend.acceptInput();
  }

  #setFifoControl(fcr: number): void {
    this.#state.fcr = fcr;
    if ((fcr & Fcr.enable) !== 0) {
      this.#state.iir |= Iir.fifosOn;
      this.#triggerLevel = TRIGGER_LEVELS[(fcr >> 6) & 3] ?? 1;
    } else {
      this.#state.iir &= ~Iir.fifosOn;
    }
  }

  #setDivider(divider: number): void {
    this.#state.divider = divider;
    this.#updateCharacterTime();
  }

  #updateCharacterTime(): void {
    if (this.#state.divider === 0 || this.#state.divider > BAUD_BASE) return;
    this.#characterTime = characterTime(this.#state.divider, this.#state.lcr);
  }

  #pushReceived(byte: number): void {
    if (!this.#receiveFifo.push(byte)) this.#state.lsr |= Lsr.overrun;
  }

  #armTimeout(): void {
    this.#timeout.arm(this.#clock.now() + this.#characterTime * 4n);
  }

  #characterTimeout(): void {
    if (this.#receiveFifo.length === 0) return;
    this.#state.timeoutIpending = 1;
    this.#updateInterrupt();
  }

  /** Sends TSR, and whatever waits behind it, for as long as the backend takes it. */
  #transmit(): void {
    do {
      if (this.#state.tsr.tsrRetry === 0) this.#loadShiftRegister();
      this.#outgoing[0] = this.#state.tsr.tsr;
      if ((this.#state.mcr & Mcr.loopback) !== 0) {
        this.receive(this.#outgoing);
      } else if (!this.#send()) {
        if (this.#state.tsr.tsrRetry < MAXIMUM_RETRY_COUNT) this.#state.tsr.tsrRetry++;
        this.#waitingForWritable = true;
        return;
      }
      this.#state.tsr.tsrRetry = 0;
    } while ((this.#state.lsr & Lsr.thrEmpty) === 0);
    this.#state.lsr |= Lsr.transmitterEmpty;
  }

  #loadShiftRegister(): void {
    if ((this.#state.fcr & Fcr.enable) !== 0) {
      this.#state.tsr.tsr = this.#transmitFifo.pop() ?? this.#state.tsr.thr;
      if (this.#transmitFifo.length === 0) this.#state.lsr |= Lsr.thrEmpty;
    } else {
      this.#state.tsr.tsr = this.#state.tsr.thr;
      this.#state.lsr |= Lsr.thrEmpty;
    }
    if ((this.#state.lsr & Lsr.thrEmpty) !== 0 && this.#state.thrIpending === 0) {
      this.#state.thrIpending = 1;
      this.#updateInterrupt();
    }
  }

  /** Gives TSR to the backend. False if it is full; then it calls back. */
  #send(): boolean {
    const written = this.#waitingForWritable
      ? this.#backend.write(this.#outgoing)
      : this.#backend.write(this.#outgoing, this.#onWritable);
    return written > 0;
  }

  #updateInterrupt(): void {
    let source: number = Iir.none;
    if ((this.#state.ier & Ier.lineStatus) !== 0 && (this.#state.lsr & Lsr.interrupting) !== 0) {
      source = Iir.lineStatus;
    } else if ((this.#state.ier & Ier.receivedData) !== 0 && this.#state.timeoutIpending !== 0) {
      source = Iir.characterTimeout;
    } else if (
      (this.#state.ier & Ier.receivedData) !== 0 && (this.#state.lsr & Lsr.dataReady) !== 0 &&
      ((this.#state.fcr & Fcr.enable) === 0 || this.#receiveFifo.length >= this.#triggerLevel)
    ) {
      source = Iir.receivedData;
    } else if ((this.#state.ier & Ier.transmitterEmpty) !== 0 && this.#state.thrIpending !== 0) {
      source = Iir.transmitterEmpty;
    } else if ((this.#state.ier & Ier.modemStatus) !== 0 && (this.#state.msr & Msr.deltas) !== 0) {
      source = Iir.modemStatus;
    }
    this.#state.iir = (this.#state.iir & ~Iir.pending) | source;
    const level = source !== Iir.none;
    // Setting an in-kernel interrupt line is a system call.
    if (level !== this.#level) {
      this.#level = level;
      this.#irq.set(level);
    }
  }
}

/** After power-on or a reset. */
function powerOn(): SerialRegisters {
  return {
    divider: RESET_DIVIDER,
    rbr: 0,
    ier: 0,
    iir: Iir.none,
    lcr: 0,
    mcr: Mcr.out2,
    lsr: Lsr.transmitterEmpty | Lsr.thrEmpty,
    msr: Msr.dcd | Msr.dsr | Msr.cts,
    scr: 0,
    fcr: 0,
    thrIpending: 0,
    tsr: { tsrRetry: 0, thr: 0, tsr: 0 },
    timeoutIpending: 0,
  };
}
