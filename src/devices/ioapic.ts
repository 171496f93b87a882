/**
 * An 82093AA I/O APIC in user space: 24 pins, a redirection table, messages to local APICs.
 *
 * On the microvm board it is the second one (GSI 24 to 47); the first is in the kernel. It is of
 * version 0x20, whose EOI register lets the guest end level-triggered interrupts, because the
 * in-kernel local APICs do not report their EOIs.
 *
 * An edge: pin rises -> message. A level: pin high and remote IRR clear -> message, remote IRR set;
 * an EOI of the vector clears remote IRR, and if the pin is still high it starts again.
 */
import type { AccessSize, InterruptLine, RegisterRegion, Resettable } from "./device.ts";
import { type IoapicRegisters, type IoapicState, ioapicState } from "./ioapic_state.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";

/** Bytes of registers, and number of inputs. */
export const IOAPIC_LENGTH = 0x1000;
export const IOAPIC_PINS = 24;
/** Of the microvm board's second one. */
export const IOAPIC2_ADDRESS = 0xfec10000;
export const IOAPIC2_FIRST_GSI = 24;

const VERSION = 0x20;

/** Offsets, of which the lowest 8 bits count. */
const IOREGSEL = 0x00;
const IOWIN = 0x10;
const EOI = 0x40;

/** Indexes behind IOREGSEL and IOWIN. */
const INDEX_ID = 0x00;
const INDEX_VERSION = 0x01;
const INDEX_ARBITRATION = 0x02;
const INDEX_REDIRECTION = 0x10;

/** Bits of the low word of a redirection entry. */
const VECTOR = 0xff;
const DELIVERY_MODE = 0x700;
const LOGICAL_DESTINATION = 0x800;
const DELIVERY_STATUS = 0x1000;
const REMOTE_IRR = 0x4000;
const LEVEL_TRIGGERED = 0x8000;
const MASKED = 0x10000;
const READ_ONLY = DELIVERY_STATUS | REMOTE_IRR;

const MSI_ADDRESS = 0xfee00000;
const MSI_LOGICAL_DESTINATION = 0x4;

/** A message-signalled interrupt: a write of `data` to `address`. */
export interface InterruptMessage {
  address: number;
  data: number;
}

/** A device that sends the message of its pin itself. */
export interface ConnectedInput {
  /** The level of the pin. */
  readonly asserted: boolean;
  /** The guest programmed the pin: the message it wants, `undefined` while it is masked. */
  route(message: InterruptMessage | undefined): void;
}

/** An I/O APIC that sends its interrupts by `deliver`. */
export class Ioapic implements RegisterRegion, SavedDevice<IoapicState>, Resettable {
  readonly idstr = "ioapic";
  readonly instanceId: number;
  readonly description = ioapicState;
  readonly #deliver: (message: InterruptMessage) => void;
  /** Devices that send their messages themselves, by pin. */
  readonly #connected = new Map<number, ConnectedInput>();
  /** Low and high words of the redirection table, alternating. */
  readonly #table = new Uint32Array(2 * IOAPIC_PINS);
  /** All that is saved but the table. `irr`: levels of level-triggered pins, and edges to be delivered. */
  #state: IoapicRegisters = { id: 0, ioregsel: 0, irr: 0 };

  constructor(instanceId: number, deliver: (message: InterruptMessage) => void) {
    this.instanceId = instanceId;
    this.#deliver = deliver;
    this.reset();
  }

  reset(): void {
    this.#state = { id: 0, ioregsel: 0, irr: 0 };
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      this.#table[2 * pin] = MASKED;
      this.#table[2 * pin + 1] = 0;
    }
    this.#routeConnected();
  }

  /** Input `pin`, 0 to 23. Unlike on QEMU's device, pin 0 is not an alias of pin 2. */
  line(pin: number): InterruptLine {
    if (!(pin >= 0 && pin < IOAPIC_PINS)) throw new RangeError(`an I/O APIC has no pin ${pin}`);
    return { set: (level) => this.#setPin(pin, level) };
  }

  /**
   * Leaves `pin` to a device that knows by itself when the guest has handled an interrupt: it sends the
   * message when it has a reason, and the end of an interrupt, of which the in-kernel local APICs do not
   * report, is not waited for.
   */
  connect(pin: number, input: ConnectedInput): void {
    if (!(pin >= 0 && pin < IOAPIC_PINS)) throw new RangeError(`an I/O APIC has no pin ${pin}`);
    this.#connected.set(pin, input);
    this.#routeConnected();
  }

  /** A local APIC ended the interrupt of `vector`. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      const entry = this.#entry(pin);
      if ((entry & VECTOR) !== vector) continue;
      if ((entry & LEVEL_TRIGGERED) === 0 || (entry & REMOTE_IRR) === 0) continue;
      this.#table[2 * pin] = entry & ~REMOTE_IRR;
      this.#service(pin);
    }
  }

  read(offset: number, size: AccessSize): number {
    switch (offset & 0xff) {
      case IOREGSEL:
        return this.#state.ioregsel;
      case IOWIN:
        return size === 4 ? this.#readIndexed() : 0;
      default:
        return 0;
    }
  }

  write(offset: number, size: AccessSize, value: number): void {
    switch (offset & 0xff) {
      case IOREGSEL:
        this.#state.ioregsel = value & 0xff;
        return;
      case IOWIN:
        if (size === 4) this.#writeIndexed(value);
        return;
      case EOI:
        if (size === 4) this.endOfInterrupt(value);
        return;
    }
  }

  save(): IoapicState {
    return {
      ...this.#state,
      irr: this.#state.irr | this.#connectedLevels(),
      ioredtbl: Array.from(
        { length: IOAPIC_PINS },
        (_, pin) => BigInt(this.#high(pin)) << 32n | BigInt(this.#entry(pin)),
      ),
    };
  }

  load({ ioredtbl, ...registers }: IoapicState): void {
    this.#state = {
      ...registers,
      id: registers.id & 0x0f,
      irr: registers.irr & ((1 << IOAPIC_PINS) - 1),
    };
    ioredtbl.forEach((entry, pin) => {
      this.#table[2 * pin] = Number(entry & 0xffff_ffffn);
      this.#table[2 * pin + 1] = Number(entry >> 32n);
    });
    for (const pin of this.#connected.keys()) {
      this.#state.irr &= ~(1 << pin);
      this.#table[2 * pin] = this.#entry(pin) & ~REMOTE_IRR;
    }
    this.#routeConnected();
  }

  #connectedLevels(): number {
    let levels = 0;
    for (const [pin, input] of this.#connected) if (input.asserted) levels |= 1 << pin;
    return levels;
  }

  #routeConnected(): void {
    for (const [pin, input] of this.#connected) {
      const entry = this.#entry(pin);
      const masked = (entry & MASKED) !== 0;
      input.route(masked ? undefined : message(entry, this.#high(pin)));
    }
  }

  #entry(pin: number): number {
    return this.#table[2 * pin] ?? MASKED;
  }

  #high(pin: number): number {
    return this.#table[2 * pin + 1] ?? 0;
  }

  #readIndexed(): number {
    switch (this.#state.ioregsel) {
      case INDEX_ID:
      case INDEX_ARBITRATION:
        return (this.#state.id << 24) >>> 0;
      case INDEX_VERSION:
        return VERSION | ((IOAPIC_PINS - 1) << 16);
      default:
        return this.#table[this.#state.ioregsel - INDEX_REDIRECTION] ?? 0;
    }
  }

  #writeIndexed(value: number): void {
    if (this.#state.ioregsel === INDEX_ID) this.#state.id = (value >>> 24) & 0x0f;
    const word = this.#state.ioregsel - INDEX_REDIRECTION;
    if (word < 0 || word >= this.#table.length) return;
    const pin = word >> 1;
    if ((word & 1) !== 0) {
      this.#table[word] = value;
    } else {
      let entry = (value & ~READ_ONLY) | (this.#entry(pin) & READ_ONLY);
      // A guest without an EOI register ends a level interrupt by making it an edge and back.
      if ((entry & LEVEL_TRIGGERED) === 0) entry &= ~REMOTE_IRR;
      this.#table[word] = entry;
    }
    for (let each = 0; each < IOAPIC_PINS; each++) this.#service(each);
    if (this.#connected.has(pin)) this.#routeConnected();
  }

  #setPin(pin: number, level: boolean): void {
    const bit = 1 << pin;
    const entry = this.#entry(pin);
    if ((entry & LEVEL_TRIGGERED) !== 0) {
      if (level) {
        this.#state.irr |= bit;
        this.#service(pin);
      } else {
        this.#state.irr &= ~bit;
      }
    } else if (level && (entry & MASKED) === 0) {
      // The manual says that an edge on a masked pin is ignored.
      this.#state.irr |= bit;
      this.#service(pin);
    }
  }

  /** Sends what is requested on `pin` if it may be. */
  #service(pin: number): void {
    const bit = 1 << pin;
    const entry = this.#entry(pin);
    if ((this.#state.irr & bit) === 0 || (entry & MASKED) !== 0) return;
    if ((entry & LEVEL_TRIGGERED) === 0) {
      this.#state.irr &= ~bit;
    } else {
      if ((entry & REMOTE_IRR) !== 0) return;
      this.#table[2 * pin] = entry | REMOTE_IRR;
    }
    this.#deliver(message(entry, this.#high(pin)));
  }
}

/** The message that an entry asks for. The destination's upper half extends it to 15 bits. */
function message(low: number, high: number): InterruptMessage {
  const destination = high >>> 16;
  const logical = (low & LOGICAL_DESTINATION) !== 0 ? MSI_LOGICAL_DESTINATION : 0;
  return {
    address: (MSI_ADDRESS | (destination << 4) | logical) >>> 0,
    data: low & (VECTOR | DELIVERY_MODE | LEVEL_TRIGGERED),
  };
}
