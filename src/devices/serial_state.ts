/** Saved state of a 16550A UART on the ISA bus: section `serial`, one per port. */
import {
  bytes,
  i32,
  nested,
  type StateOf,
  struct,
  subsection,
  timer,
  u16,
  u32,
  u8,
  VmStateError,
} from "../vmstate/vmstate.ts";

/** A FIFO of 16 bytes as a ring: `num` bytes from `head` on. */
const fifo8 = struct({
  name: "Fifo8",
  version: 1,
  fields: {
    /** The ring; bytes outside of `head`, `num` mean nothing. */
    data: bytes(16, { since: 1 }),
    head: u32(),
    num: u32(),
  },
  postLoad(fifo) {
    if (fifo.head >= 16 || fifo.num > 16) {
      throw new VmStateError(`FIFO with head ${fifo.head} and ${fifo.num} bytes`);
    }
  },
});

/** State of a FIFO. */
export type Fifo8State = StateOf<typeof fifo8>;

/** LSR bit 6: shift register and holding register are empty. */
const lsrTransmitterEmpty = 0x40;

/** The UART itself. */
export const uartState = struct({
  name: "serial",
  version: 3,
  minimumVersion: 2,
  fields: {
    /** Baud rate divisor latch. */
    divider: u16({ since: 2 }),
    rbr: u8(),
    ier: u8(),
    /** Bits 6 and 7 are set when the FIFOs are on. */
    iir: u8(),
    lcr: u8(),
    mcr: u8(),
    lsr: u8(),
    msr: u8(),
    scr: u8(),
    /** FIFO control register as last written. */
    fcr: u8({ name: "fcr_vmstate", since: 3 }),
  },
  subsections: {
    /** Latch of the transmitter-empty interrupt, where IER and IIR do not show it. */
    thrIpending: subsection({
      name: "serial/thr_ipending",
      version: 1,
      key: "thrIpending",
      field: i32(),
      needed: (latch: number, uart: { ier: number; iir: number }) =>
        (uart.ier & 2) !== 0 && latch !== ((uart.iir & 6) === 2 ? 1 : 0),
    }),
    /** A byte that the backend has not taken yet. */
    tsr: subsection({
      name: "serial/tsr",
      version: 1,
      fields: {
        /** Number of attempts so far; 0 is not saved. */
        tsrRetry: u32(),
        thr: u8(),
        tsr: u8(),
      },
      needed: (tsr) => tsr.tsrRetry !== 0,
    }),
    receiveFifo: subsection({
      name: "serial/recv_fifo",
      version: 1,
      field: nested(fifo8, { name: "recv_fifo", since: 1 }),
      needed: (fifo) => fifo.num !== 0,
    }),
    transmitFifo: subsection({
      name: "serial/xmit_fifo",
      version: 1,
      field: nested(fifo8, { name: "xmit_fifo", since: 1 }),
      needed: (fifo) => fifo.num !== 0,
    }),
    /** Virtual-clock ns at which unread input raises the timeout interrupt. */
    fifoTimeoutTimer: subsection({
      name: "serial/fifo_timeout_timer",
      version: 1,
      key: "fifoTimeoutTimer",
      field: timer(),
    }),
    /** 1 while the timeout interrupt is pending. */
    timeoutIpending: subsection({
      name: "serial/timeout_ipending",
      version: 1,
      key: "timeoutIpending",
      field: i32(),
      absent: 0,
    }),
    /** Polling of a real line's modem status. */
    poll: subsection({
      name: "serial/poll",
      version: 1,
      fields: { pollMsl: i32(), modemStatusPoll: timer() },
      needed: (poll) => poll.pollMsl >= 0,
    }),
  },
  postLoad(uart) {
    const retries = uart.tsr?.tsrRetry ?? 0;
    const empty = (uart.lsr & lsrTransmitterEmpty) !== 0;
    if (retries > 0 && empty) {
      throw new VmStateError(
        "inconsistent state in serial device (tsr empty, tsr_retry=" + retries + ")",
      );
    }
    if (retries === 0 && !empty) {
      throw new VmStateError("inconsistent state in serial device (tsr not empty, tsr_retry=0)");
    }
  },
});

/** State of the UART. */
export type UartState = StateOf<typeof uartState>;

/** The section: one UART, which is named `serial` as well. */
export const serialState = struct({
  name: "serial",
  version: 3,
  minimumVersion: 2,
  field: nested(uartState, { name: "state" }),
});

/** State of the section. */
export type SerialState = StateOf<typeof serialState>;

/** What the UART keeps itself, always whole: FIFOs and timer have their own part of the state. */
export type SerialRegisters =
  & Required<
    Omit<
      SerialState,
      "receiveFifo" | "transmitFifo" | "fifoTimeoutTimer" | "poll" | "thrIpending" | "tsr"
    >
  >
  & {
    thrIpending: number;
    tsr: NonNullable<SerialState["tsr"]>;
  };
