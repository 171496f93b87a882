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
import { type SerialState, serialState } from "./serial_state.ts";
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

  #divider = RESET_DIVIDER;
  #rbr = 0;
  #thr = 0;
  #tsr = 0;
  #ier = 0;
  #iir: number = Iir.none;
  #fcr = 0;
  #lcr = 0;
  #mcr = 0;
  #lsr = 0;
  #msr = 0;
  #scr = 0;
  /** THR became empty and the guest has not been notified or has not looked yet. */
  #transmitPending = false;
  #timeoutPending = false;
  /** Above 0: TSR holds a byte the backend did not take. */
  #tsrRetry = 0;
  #triggerLevel = 1;
  #characterTime = 0n;
  #level = false;
  #running = false;
  #waitingForWritable = false;
  /** The one byte that is being sent; backends do not keep what they are given. */
  readonly #outgoing = new Uint8Array(1);
  readonly #onWritable = () => {
    this.#waitingForWritable = false;
    if (this.#running && this.#tsrRetry > 0) this.#transmit();
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
    this.#rbr = 0;
    this.#ier = 0;
    this.#iir = Iir.none;
    this.#lcr = 0;
    this.#lsr = Lsr.transmitterEmpty | Lsr.thrEmpty;
    this.#msr = Msr.dcd | Msr.dsr | Msr.cts;
    this.#divider = RESET_DIVIDER;
    this.#mcr = Mcr.out2;
    this.#scr = 0;
    this.#tsrRetry = 0;
    this.#transmitPending = false;
    this.#timeoutPending = false;
    this.#characterTime = RESET_CHARACTER_TIME;
    this.#fcr = 0;
    this.#triggerLevel = 1;
  }

  read(offset: number, size: AccessSize): number {
    if (size !== 1) return readBytes(this, offset, size);
    switch (offset) {
      case Port.lineStatus: {
        const lsr = this.#lsr;
        if ((lsr & (Lsr.break | Lsr.overrun)) !== 0) {
          this.#lsr = lsr & ~(Lsr.break | Lsr.overrun);
          this.#updateInterrupt();
        }
        return lsr;
      }
      case Port.data:
        return (this.#lcr & Lcr.divisorLatch) !== 0 ? this.#divider & 0xff : this.#readReceived();
      case Port.interruptEnable:
        return (this.#lcr & Lcr.divisorLatch) !== 0 ? this.#divider >> 8 : this.#ier;
      case Port.interruptIdentification: {
        const iir = this.#iir;
        if ((iir & Iir.source) === Iir.transmitterEmpty) {
          this.#transmitPending = false;
          this.#updateInterrupt();
        }
        return iir;
      }
      case Port.lineControl:
        return this.#lcr;
      case Port.modemControl:
        return this.#mcr;
      case Port.modemStatus:
        return this.#readModemStatus();
      default:
        return this.#scr;
    }
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (size !== 1) return writeBytes(this, offset, size, value);
    const latch = (this.#lcr & Lcr.divisorLatch) !== 0;
    switch (offset) {
      case Port.data:
        if (latch) this.#setDivider((this.#divider & 0xff00) | value);
        else this.#writeTransmit(value);
        return;
      case Port.interruptEnable:
        if (latch) this.#setDivider((this.#divider & 0x00ff) | (value << 8));
        else this.#writeInterruptEnable(value);
        return;
      case Port.fifoControl:
        this.#writeFifoControl(value);
        return;
      case Port.lineControl:
        this.#lcr = value;
        this.#updateCharacterTime();
        return;
      case Port.modemControl:
        this.#mcr = value & Mcr.stored;
        return;
      case Port.scratch:
        this.#scr = value;
        return;
      default:
        // LSR and MSR are read-only.
        return;
    }
  }

  canReceive(): number {
    if (!this.#running) return 0;
    if ((this.#fcr & Fcr.enable) === 0) return (this.#lsr & Lsr.dataReady) === 0 ? 1 : 0;
    if (this.#receiveFifo.isFull) return 0;
    // Up to the trigger level and no further before the guest has read, so that the level it chose
    // decides how often it is interrupted. Lowering the level below the fill lets single bytes in.
    const room = this.#triggerLevel - this.#receiveFifo.length;
    return room >= 0 ? room : 1;
  }

  receive(bytes: Uint8Array<ArrayBuffer>): void {
    if ((this.#fcr & Fcr.enable) !== 0) {
      for (const byte of bytes) this.#pushReceived(byte);
      this.#lsr |= Lsr.dataReady;
      this.#armTimeout();
    } else {
      for (const byte of bytes) {
        if ((this.#lsr & Lsr.dataReady) !== 0) this.#lsr |= Lsr.overrun;
        this.#rbr = byte;
        this.#lsr |= Lsr.dataReady;
      }
    }
    this.#updateInterrupt();
  }

  event(event: CharacterEvent): void {
    if (event !== "break") return;
    this.#rbr = 0;
    this.#pushReceived(0);
    this.#lsr |= Lsr.break | Lsr.dataReady;
    this.#updateInterrupt();
  }

  runStateChanged(running: boolean): void {
    this.#running = running;
    if (!running) return;
    if (this.#tsrRetry > 0) this.#transmit();
    this.#backend.acceptInput();
  }

  save(): SerialState {
    return {
      divider: this.#divider,
      rbr: this.#rbr,
      ier: this.#ier,
      iir: this.#iir,
      lcr: this.#lcr,
      mcr: this.#mcr,
      lsr: this.#lsr,
      msr: this.#msr,
      scr: this.#scr,
      fcr: this.#fcr,
      thrIpending: this.#transmitPending ? 1 : 0,
      tsr: { tsrRetry: this.#tsrRetry, thr: this.#thr, tsr: this.#tsr },
      receiveFifo: this.#receiveFifo.save(),
      transmitFifo: this.#transmitFifo.save(),
      fifoTimeoutTimer: this.#timeout.expiry,
      timeoutIpending: this.#timeoutPending ? 1 : 0,
    };
  }

  load(state: SerialState): void {
    this.#initialize();
    if (state.receiveFifo !== undefined) this.#receiveFifo.load(state.receiveFifo);
    if (state.transmitFifo !== undefined) this.#transmitFifo.load(state.transmitFifo);
    this.#divider = state.divider;
    this.#rbr = state.rbr;
    this.#ier = state.ier & 0x0f;
    this.#iir = state.iir;
    this.#lcr = state.lcr;
    this.#mcr = state.mcr & Mcr.stored;
    this.#lsr = state.lsr;
    this.#msr = state.msr;
    this.#scr = state.scr;
    this.#setFifoControl(state.fcr);
    this.#transmitPending = state.thrIpending === undefined
      ? (state.iir & Iir.source) === Iir.transmitterEmpty
      : state.thrIpending !== 0;
    if (state.tsr !== undefined) {
      this.#tsrRetry = Math.min(state.tsr.tsrRetry, MAXIMUM_RETRY_COUNT);
      this.#thr = state.tsr.thr;
      this.#tsr = state.tsr.tsr;
    }
    if (state.fifoTimeoutTimer !== undefined) this.#timeout.arm(state.fifoTimeoutTimer);
    this.#timeoutPending = state.timeoutIpending !== 0;
    this.#updateCharacterTime();
    // The interrupt controller brings the line's level with its own state.
    this.#level = (this.#iir & Iir.pending) !== Iir.none;
  }

  #readReceived(): number {
    let byte: number;
    if ((this.#fcr & Fcr.enable) !== 0) {
      byte = this.#receiveFifo.pop() ?? 0;
      if (this.#receiveFifo.length === 0) this.#lsr &= ~(Lsr.dataReady | Lsr.break);
      else this.#armTimeout();
      this.#timeoutPending = false;
    } else {
      byte = this.#rbr;
      this.#lsr &= ~(Lsr.dataReady | Lsr.break);
    }
    this.#updateInterrupt();
    this.#backend.acceptInput();
    return byte;
  }

  #readModemStatus(): number {
    if ((this.#mcr & Mcr.loopback) !== 0) {
      // The modem outputs are looped back to the modem inputs.
      return ((this.#mcr & Mcr.out2) !== 0 ? Msr.dcd : 0) |
        ((this.#mcr & Mcr.out1) !== 0 ? Msr.ri : 0) |
        ((this.#mcr & Mcr.dtr) !== 0 ? Msr.dsr : 0) |
        ((this.#mcr & Mcr.rts) !== 0 ? Msr.cts : 0);
    }
    const msr = this.#msr;
    if ((msr & Msr.deltas) !== 0) {
      this.#msr = msr & ~Msr.deltas;
      this.#updateInterrupt();
    }
    return msr;
  }

  #writeTransmit(byte: number): void {
    this.#thr = byte;
    if ((this.#fcr & Fcr.enable) !== 0) {
      // An overrun of the transmit FIFO overwrites its oldest byte.
      if (this.#transmitFifo.isFull) this.#transmitFifo.pop();
      this.#transmitFifo.push(byte);
    }
    this.#transmitPending = false;
    this.#lsr &= ~(Lsr.thrEmpty | Lsr.transmitterEmpty);
    this.#updateInterrupt();
    if (this.#tsrRetry === 0) this.#transmit();
  }

  #writeInterruptEnable(value: number): void {
    const changed = (this.#ier ^ value) & 0x0f;
    this.#ier = value & 0x0f;
    if ((changed & Ier.transmitterEmpty) !== 0) {
      // Enabling the interrupt while THR is empty raises it.
      this.#transmitPending = (this.#ier & Ier.transmitterEmpty) !== 0 &&
        (this.#lsr & Lsr.thrEmpty) !== 0;
    }
    if (changed !== 0) this.#updateInterrupt();
  }

  #writeFifoControl(value: number): void {
    const toggled = ((value ^ this.#fcr) & Fcr.enable) !== 0;
    if (toggled || (value & Fcr.clearReceive) !== 0) {
      this.#lsr &= ~(Lsr.dataReady | Lsr.break);
      this.#timeout.disarm();
      this.#timeoutPending = false;
      this.#receiveFifo.clear();
    }
    if (toggled || (value & Fcr.clearTransmit) !== 0) {
      this.#lsr |= Lsr.thrEmpty;
      this.#transmitPending = true;
      this.#transmitFifo.clear();
    }
    this.#setFifoControl(value & Fcr.stored);
    this.#updateInterrupt();
    this.#backend.acceptInput();
  }

  #setFifoControl(fcr: number): void {
    this.#fcr = fcr;
    if ((fcr & Fcr.enable) !== 0) {
      this.#iir |= Iir.fifosOn;
      this.#triggerLevel = TRIGGER_LEVELS[(fcr >> 6) & 3] ?? 1;
    } else {
      this.#iir &= ~Iir.fifosOn;
    }
  }

  #setDivider(divider: number): void {
    this.#divider = divider;
    this.#updateCharacterTime();
  }

  #updateCharacterTime(): void {
    if (this.#divider === 0 || this.#divider > BAUD_BASE) return;
    this.#characterTime = characterTime(this.#divider, this.#lcr);
  }

  #pushReceived(byte: number): void {
    if (!this.#receiveFifo.push(byte)) this.#lsr |= Lsr.overrun;
  }

  #armTimeout(): void {
    this.#timeout.arm(this.#clock.now() + this.#characterTime * 4n);
  }

  #characterTimeout(): void {
    if (this.#receiveFifo.length === 0) return;
    this.#timeoutPending = true;
    this.#updateInterrupt();
  }

  /** Sends TSR, and whatever waits behind it, for as long as the backend takes it. */
  #transmit(): void {
    do {
      if (this.#tsrRetry === 0) this.#loadShiftRegister();
      this.#outgoing[0] = this.#tsr;
      if ((this.#mcr & Mcr.loopback) !== 0) {
        this.receive(this.#outgoing);
      } else if (!this.#send()) {
        if (this.#tsrRetry < MAXIMUM_RETRY_COUNT) this.#tsrRetry++;
        this.#waitingForWritable = true;
        return;
      }
      this.#tsrRetry = 0;
    } while ((this.#lsr & Lsr.thrEmpty) === 0);
    this.#lsr |= Lsr.transmitterEmpty;
  }

  #loadShiftRegister(): void {
    if ((this.#fcr & Fcr.enable) !== 0) {
      this.#tsr = this.#transmitFifo.pop() ?? this.#thr;
      if (this.#transmitFifo.length === 0) this.#lsr |= Lsr.thrEmpty;
    } else {
      this.#tsr = this.#thr;
      this.#lsr |= Lsr.thrEmpty;
    }
    if ((this.#lsr & Lsr.thrEmpty) !== 0 && !this.#transmitPending) {
      this.#transmitPending = true;
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
    if ((this.#ier & Ier.lineStatus) !== 0 && (this.#lsr & Lsr.interrupting) !== 0) {
      source = Iir.lineStatus;
    } else if ((this.#ier & Ier.receivedData) !== 0 && this.#timeoutPending) {
      source = Iir.characterTimeout;
    } else if (
      (this.#ier & Ier.receivedData) !== 0 && (this.#lsr & Lsr.dataReady) !== 0 &&
      ((this.#fcr & Fcr.enable) === 0 || this.#receiveFifo.length >= this.#triggerLevel)
    ) {
      source = Iir.receivedData;
    } else if ((this.#ier & Ier.transmitterEmpty) !== 0 && this.#transmitPending) {
      source = Iir.transmitterEmpty;
    } else if ((this.#ier & Ier.modemStatus) !== 0 && (this.#msr & Msr.deltas) !== 0) {
      source = Iir.modemStatus;
    }
    this.#iir = (this.#iir & ~Iir.pending) | source;
    const level = source !== Iir.none;
    // Setting an in-kernel interrupt line is a system call.
    if (level !== this.#level) {
      this.#level = level;
      this.#irq.set(level);
    }
  }
}
