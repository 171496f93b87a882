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
 *
 * Register names are those of the PC16550D data sheet (National Semiconductor).
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
import { type SerialState, serialState } from "./serial_state.ts";
import { readBytes, writeBytes } from "./split_access.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";

const IER_RECEIVED_DATA = 0x01;
const IER_TRANSMITTER_EMPTY = 0x02;
const IER_LINE_STATUS = 0x04;
const IER_MODEM_STATUS = 0x08;

/** IIR bits 0-3: the pending interrupt of the highest priority, and bits 6-7: FIFOs are on. */
const IIR_MODEM_STATUS = 0x00;
const IIR_NONE = 0x01;
const IIR_TRANSMITTER_EMPTY = 0x02;
const IIR_RECEIVED_DATA = 0x04;
const IIR_LINE_STATUS = 0x06;
const IIR_CHARACTER_TIMEOUT = 0x0c;
const IIR_PENDING = 0x0f;
const IIR_SOURCE = 0x06;
const IIR_FIFOS_ON = 0xc0;

const FCR_ENABLE = 0x01;
const FCR_CLEAR_RECEIVE = 0x02;
const FCR_CLEAR_TRANSMIT = 0x04;
const FCR_STORED = 0xc9;

const LCR_STOP_BITS = 0x04;
const LCR_PARITY = 0x08;
const LCR_DIVISOR_LATCH = 0x80;

const MCR_DTR = 0x01;
const MCR_RTS = 0x02;
const MCR_OUT1 = 0x04;
const MCR_OUT2 = 0x08;
const MCR_LOOPBACK = 0x10;
const MCR_STORED = 0x1f;

const LSR_DATA_READY = 0x01;
const LSR_OVERRUN = 0x02;
const LSR_BREAK = 0x10;
const LSR_THR_EMPTY = 0x20;
const LSR_TRANSMITTER_EMPTY = 0x40;
const LSR_INTERRUPTING = 0x1e;

const MSR_DELTAS = 0x0f;
const MSR_CTS = 0x10;
const MSR_DSR = 0x20;
const MSR_RI = 0x40;
const MSR_DCD = 0x80;

/** Receive trigger level by FCR bits 6-7. */
const TRIGGER_LEVELS = [1, 4, 8, 14] as const;
const FIFO_SIZE = 16;

/** Bits a second with divisor 1. */
const BAUD_BASE = 115200;
const NANOSECONDS_PER_SECOND = 1e9;
const RESET_DIVIDER = 12;
/** A retry count that QEMU accepts; we retry for as long as it takes and count no further. */
const MAXIMUM_RETRY_COUNT = 4;

/** What surrounds a UART. */
export interface SerialSurroundings {
  irq: InterruptLine;
  clock: VirtualClock;
  backend: CharacterBackend;
}

/** A UART at eight ports. The machine must tell it when it starts and stops. */
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
  #iir = IIR_NONE;
  #fcr = 0;
  #lcr = 0;
  #mcr = 0;
  #lsr = 0;
  #msr = 0;
  #scr = 0;
  /** THR became empty and the guest has not been told or has not looked yet. */
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

  constructor(surroundings: SerialSurroundings, instanceId = 0) {
    this.instanceId = instanceId;
    this.#irq = surroundings.irq;
    this.#clock = surroundings.clock;
    this.#backend = surroundings.backend;
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
    this.#iir = IIR_NONE;
    this.#lcr = 0;
    this.#lsr = LSR_TRANSMITTER_EMPTY | LSR_THR_EMPTY;
    this.#msr = MSR_DCD | MSR_DSR | MSR_CTS;
    this.#divider = RESET_DIVIDER;
    this.#mcr = MCR_OUT2;
    this.#scr = 0;
    this.#tsrRetry = 0;
    this.#transmitPending = false;
    this.#timeoutPending = false;
    this.#characterTime = BigInt(Math.trunc(NANOSECONDS_PER_SECOND / 9600)) * 10n;
    this.#fcr = 0;
    this.#triggerLevel = 1;
  }

  read(offset: number, size: AccessSize): number {
    if (size !== 1) return readBytes(this, offset, size);
    switch (offset) {
      case 5: {
        const lsr = this.#lsr;
        if ((lsr & (LSR_BREAK | LSR_OVERRUN)) !== 0) {
          this.#lsr = lsr & ~(LSR_BREAK | LSR_OVERRUN);
          this.#updateInterrupt();
        }
        return lsr;
      }
      case 0:
        return (this.#lcr & LCR_DIVISOR_LATCH) !== 0 ? this.#divider & 0xff : this.#readReceived();
      case 1:
        return (this.#lcr & LCR_DIVISOR_LATCH) !== 0 ? this.#divider >> 8 : this.#ier;
      case 2: {
        const iir = this.#iir;
        if ((iir & IIR_SOURCE) === IIR_TRANSMITTER_EMPTY) {
          this.#transmitPending = false;
          this.#updateInterrupt();
        }
        return iir;
      }
      case 3:
        return this.#lcr;
      case 4:
        return this.#mcr;
      case 6:
        return this.#readModemStatus();
      default:
        return this.#scr;
    }
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (size !== 1) return writeBytes(this, offset, size, value);
    const latch = (this.#lcr & LCR_DIVISOR_LATCH) !== 0;
    switch (offset) {
      case 0:
        if (latch) this.#setDivider((this.#divider & 0xff00) | value);
        else this.#writeTransmit(value);
        return;
      case 1:
        if (latch) this.#setDivider((this.#divider & 0x00ff) | (value << 8));
        else this.#writeInterruptEnable(value);
        return;
      case 2:
        this.#writeFifoControl(value);
        return;
      case 3:
        this.#lcr = value;
        this.#updateCharacterTime();
        return;
      case 4:
        this.#mcr = value & MCR_STORED;
        return;
      case 7:
        this.#scr = value;
        return;
      default:
        // LSR and MSR are read-only.
        return;
    }
  }

  canReceive(): number {
    if (!this.#running) return 0;
    if ((this.#fcr & FCR_ENABLE) === 0) return (this.#lsr & LSR_DATA_READY) === 0 ? 1 : 0;
    if (this.#receiveFifo.isFull) return 0;
    // Up to the trigger level and no further before the guest has read, so that the level it chose
    // decides how often it is interrupted. Lowering the level below the fill lets single bytes in.
    const room = this.#triggerLevel - this.#receiveFifo.length;
    return room >= 0 ? room : 1;
  }

  receive(bytes: Uint8Array<ArrayBuffer>): void {
    if ((this.#fcr & FCR_ENABLE) !== 0) {
      for (const byte of bytes) this.#pushReceived(byte);
      this.#lsr |= LSR_DATA_READY;
      this.#armTimeout();
    } else {
      for (const byte of bytes) {
        if ((this.#lsr & LSR_DATA_READY) !== 0) this.#lsr |= LSR_OVERRUN;
        this.#rbr = byte;
        this.#lsr |= LSR_DATA_READY;
      }
    }
    this.#updateInterrupt();
  }

  event(event: CharacterEvent): void {
    if (event !== "break") return;
    this.#rbr = 0;
    this.#pushReceived(0);
    this.#lsr |= LSR_BREAK | LSR_DATA_READY;
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
    this.#mcr = state.mcr & MCR_STORED;
    this.#lsr = state.lsr;
    this.#msr = state.msr;
    this.#scr = state.scr;
    this.#setFifoControl(state.fcr);
    this.#transmitPending = state.thrIpending === undefined
      ? (state.iir & IIR_SOURCE) === IIR_TRANSMITTER_EMPTY
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
    this.#level = (this.#iir & IIR_PENDING) !== IIR_NONE;
  }

  #readReceived(): number {
    let byte: number;
    if ((this.#fcr & FCR_ENABLE) !== 0) {
      byte = this.#receiveFifo.pop() ?? 0;
      if (this.#receiveFifo.length === 0) this.#lsr &= ~(LSR_DATA_READY | LSR_BREAK);
      else this.#armTimeout();
      this.#timeoutPending = false;
    } else {
      byte = this.#rbr;
      this.#lsr &= ~(LSR_DATA_READY | LSR_BREAK);
    }
    this.#updateInterrupt();
    this.#backend.acceptInput();
    return byte;
  }

  #readModemStatus(): number {
    if ((this.#mcr & MCR_LOOPBACK) !== 0) {
      // The modem outputs are looped back to the modem inputs.
      return ((this.#mcr & MCR_OUT2) !== 0 ? MSR_DCD : 0) |
        ((this.#mcr & MCR_OUT1) !== 0 ? MSR_RI : 0) |
        ((this.#mcr & MCR_DTR) !== 0 ? MSR_DSR : 0) |
        ((this.#mcr & MCR_RTS) !== 0 ? MSR_CTS : 0);
    }
    const msr = this.#msr;
    if ((msr & MSR_DELTAS) !== 0) {
      this.#msr = msr & ~MSR_DELTAS;
      this.#updateInterrupt();
    }
    return msr;
  }

  #writeTransmit(byte: number): void {
    this.#thr = byte;
    if ((this.#fcr & FCR_ENABLE) !== 0) {
      // An overrun of the transmit FIFO overwrites its oldest byte.
      if (this.#transmitFifo.isFull) this.#transmitFifo.pop();
      this.#transmitFifo.push(byte);
    }
    this.#transmitPending = false;
    this.#lsr &= ~(LSR_THR_EMPTY | LSR_TRANSMITTER_EMPTY);
    this.#updateInterrupt();
    if (this.#tsrRetry === 0) this.#transmit();
  }

  #writeInterruptEnable(value: number): void {
    const changed = (this.#ier ^ value) & 0x0f;
    this.#ier = value & 0x0f;
    if ((changed & IER_TRANSMITTER_EMPTY) !== 0) {
      // Enabling the interrupt while THR is empty raises it.
      this.#transmitPending = (this.#ier & IER_TRANSMITTER_EMPTY) !== 0 &&
        (this.#lsr & LSR_THR_EMPTY) !== 0;
    }
    if (changed !== 0) this.#updateInterrupt();
  }

  #writeFifoControl(value: number): void {
    const toggled = ((value ^ this.#fcr) & FCR_ENABLE) !== 0;
    if (toggled || (value & FCR_CLEAR_RECEIVE) !== 0) {
      this.#lsr &= ~(LSR_DATA_READY | LSR_BREAK);
      this.#timeout.disarm();
      this.#timeoutPending = false;
      this.#receiveFifo.clear();
    }
    if (toggled || (value & FCR_CLEAR_TRANSMIT) !== 0) {
      this.#lsr |= LSR_THR_EMPTY;
      this.#transmitPending = true;
      this.#transmitFifo.clear();
    }
    this.#setFifoControl(value & FCR_STORED);
    this.#updateInterrupt();
    this.#backend.acceptInput();
  }

  #setFifoControl(fcr: number): void {
    this.#fcr = fcr;
    if ((fcr & FCR_ENABLE) !== 0) {
      this.#iir |= IIR_FIFOS_ON;
      this.#triggerLevel = TRIGGER_LEVELS[(fcr >> 6) & 3] ?? 1;
    } else {
      this.#iir &= ~IIR_FIFOS_ON;
    }
  }

  #setDivider(divider: number): void {
    this.#divider = divider;
    this.#updateCharacterTime();
  }

  #updateCharacterTime(): void {
    if (this.#divider === 0 || this.#divider > BAUD_BASE) return;
    const dataBits = (this.#lcr & 3) + 5;
    const stopBits = (this.#lcr & LCR_STOP_BITS) !== 0 ? 2 : 1;
    const parityBits = (this.#lcr & LCR_PARITY) !== 0 ? 1 : 0;
    const frame = 1 + dataBits + parityBits + stopBits;
    this.#characterTime = BigInt(
      Math.trunc(NANOSECONDS_PER_SECOND * this.#divider / BAUD_BASE * frame),
    );
  }

  #pushReceived(byte: number): void {
    if (!this.#receiveFifo.push(byte)) this.#lsr |= LSR_OVERRUN;
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
      if ((this.#mcr & MCR_LOOPBACK) !== 0) {
        this.receive(this.#outgoing);
      } else if (!this.#send()) {
        if (this.#tsrRetry < MAXIMUM_RETRY_COUNT) this.#tsrRetry++;
        this.#waitingForWritable = true;
        return;
      }
      this.#tsrRetry = 0;
    } while ((this.#lsr & LSR_THR_EMPTY) === 0);
    this.#lsr |= LSR_TRANSMITTER_EMPTY;
  }

  #loadShiftRegister(): void {
    if ((this.#fcr & FCR_ENABLE) !== 0) {
      this.#tsr = this.#transmitFifo.pop() ?? this.#thr;
      if (this.#transmitFifo.length === 0) this.#lsr |= LSR_THR_EMPTY;
    } else {
      this.#tsr = this.#thr;
      this.#lsr |= LSR_THR_EMPTY;
    }
    if ((this.#lsr & LSR_THR_EMPTY) !== 0 && !this.#transmitPending) {
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
    let source = IIR_NONE;
    if ((this.#ier & IER_LINE_STATUS) !== 0 && (this.#lsr & LSR_INTERRUPTING) !== 0) {
      source = IIR_LINE_STATUS;
    } else if ((this.#ier & IER_RECEIVED_DATA) !== 0 && this.#timeoutPending) {
      source = IIR_CHARACTER_TIMEOUT;
    } else if (
      (this.#ier & IER_RECEIVED_DATA) !== 0 && (this.#lsr & LSR_DATA_READY) !== 0 &&
      ((this.#fcr & FCR_ENABLE) === 0 || this.#receiveFifo.length >= this.#triggerLevel)
    ) {
      source = IIR_RECEIVED_DATA;
    } else if ((this.#ier & IER_TRANSMITTER_EMPTY) !== 0 && this.#transmitPending) {
      source = IIR_TRANSMITTER_EMPTY;
    } else if ((this.#ier & IER_MODEM_STATUS) !== 0 && (this.#msr & MSR_DELTAS) !== 0) {
      source = IIR_MODEM_STATUS;
    }
    this.#iir = (this.#iir & ~IIR_PENDING) | source;
    const level = source !== IIR_NONE;
    // Setting an in-kernel interrupt line is a system call.
    if (level !== this.#level) {
      this.#level = level;
      this.#irq.set(level);
    }
  }
}
