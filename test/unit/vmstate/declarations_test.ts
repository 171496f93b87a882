import { assertEquals, assertThrows } from "@std/assert";
import { serialState, type UartState, uartState } from "../../../src/devices/serial_state.ts";
import { globalState, globalStateOf } from "../../../src/devices/global_state.ts";
import { virtioBlkState } from "../../../src/devices/virtio/blk_state.ts";
import { mmioState } from "../../../src/devices/virtio/mmio_state.ts";
import { virtioNetState } from "../../../src/devices/virtio/net_state.ts";
import { cpuState } from "../../../src/kvm/cpu_state.ts";
import { knownSection } from "../../../src/migration/stream/known_sections.ts";
import {
  type StateDescription,
  StateReader,
  StateWriter,
  Structure,
  VmStateError,
} from "../../../src/vmstate/vmstate.ts";

const sections = [
  "acpi-ged",
  "apic",
  "cpu",
  "cpu_common",
  "fw_cfg",
  "i8254",
  "i8259",
  "ioapic",
  "kvm-tpr-opt",
  "kvmclock",
  "mc146818rtc",
  "timer",
];

function encode<State>(description: StateDescription<State>, state: State): Uint8Array {
  const writer = new StateWriter();
  description.encode(writer, state);
  return writer.bytes;
}

function decode<State>(description: StateDescription<State>, bytes: Uint8Array): State {
  return description.decode(new StateReader(bytes, { final: true }), description.version);
}

/** A structure and the subsections below it. */
function* structuresOf(structure: Structure<unknown>): Generator<Structure<unknown>> {
  yield structure;
  for (const subsection of structure.subsections) yield* structuresOf(subsection.structure);
}

/** Bytes of a structure's fields, each field different from others where its type allows. */
function filledBytes(structure: Structure<unknown>): Uint8Array {
  const bytes = encode(structure, structure.zero());
  const reader = new StateReader(bytes, { final: true });
  reader.trace = [];
  structure.decode(reader, structure.version);
  let value = 1;
  for (const field of reader.trace) {
    // Padding stays zero; the x87 format has to.
    if (field.type === "unused_buffer" || field.path === "env.fpregs_format_vmstate") continue;
    for (let index = 0; index < field.size; index++) {
      bytes[field.offset + index] = field.type === "bool" ? 1 : value++ % 251;
    }
  }
  return bytes;
}

for (const name of sections) {
  Deno.test(`${name}: every field, of subsections too, is written where it was read`, () => {
    const [description] = knownSection(name) ?? [];
    if (!(description instanceof Structure)) throw new Error(`no section ${name}`);
    for (const structure of structuresOf(description)) {
      const bytes = filledBytes(structure);
      const state = decode(structure, bytes);
      assertEquals(encode(structure, state), bytes, structure.name);
      assertEquals(structure.size(state), bytes.length, structure.name);
      JSON.parse(`{${structure.describe(state)}}`);
    }
  });
}

const uart: UartState = {
  divider: 12,
  rbr: 0,
  ier: 0,
  iir: 1,
  lcr: 3,
  mcr: 8,
  lsr: 0x60,
  msr: 0xb0,
  scr: 0,
  fcr: 0,
  timeoutIpending: 0,
};

Deno.test("serial: the UART is a structure in the section", () => {
  assertEquals(encode(serialState, uart).length, 11);
  assertEquals(decode(serialState, encode(serialState, uart)), uart);
});

Deno.test("serial: the latch of the THR interrupt is saved where IER and IIR do not show it", () => {
  const saved = (change: Partial<UartState>) =>
    decode(uartState, encode(uartState, { ...uart, ...change })).thrIpending;
  assertEquals(saved({ ier: 0, thrIpending: 1 }), undefined);
  assertEquals(saved({ ier: 2, iir: 2, thrIpending: 1 }), undefined);
  assertEquals(saved({ ier: 2, iir: 0xc2, thrIpending: 0 }), 0);
  assertEquals(saved({ ier: 2, iir: 1, thrIpending: 1 }), 1);
});

Deno.test("serial: a byte still to be sent and an empty transmitter exclude each other", () => {
  const tsr = { tsrRetry: 1, thr: 65, tsr: 66 };
  const refused = (state: UartState) =>
    assertThrows(() => decode(uartState, encode(uartState, state)), VmStateError);
  refused({ ...uart, tsr });
  refused({ ...uart, lsr: 0x20 });
  const sending = { ...uart, lsr: 0x20, tsr };
  assertEquals(decode(uartState, encode(uartState, sending)), sending);
});

Deno.test("serial: a FIFO that cannot be is refused", () => {
  const receiveFifo = { data: new Uint8Array(16), head: 16, num: 1 };
  assertThrows(
    () => decode(uartState, encode(uartState, { ...uart, receiveFifo })),
    VmStateError,
    "field 'serial/recv_fifo.recv_fifo'",
  );
});

Deno.test("globalstate: the run state's name and its length", () => {
  const state = globalStateOf("running");
  assertEquals(state.size, 8);
  assertEquals(encode(globalState, state).length, 104);
  assertEquals(decode(globalState, encode(globalState, state)), state);
});

Deno.test("cpu: registers at their reset values take no subsection", () => {
  assertEquals(encode(cpuState, cpuState.zero()).length, 1817);
  const state = { ...cpuState.zero(), pollControlMsr: 0n, tscAdjust: 5n, tscKhz: 3_000_000n };
  const again = decode(cpuState, encode(cpuState, state));
  assertEquals(again, state);
});

Deno.test("cpu: an error code is saved with its exception only", () => {
  const saved = (exceptionNr: number, hasErrorCode: number) => {
    const state = { ...cpuState.zero(), exceptionNr, hasErrorCode, errorCode: 4 };
    return decode(cpuState, encode(cpuState, state)).errorCode;
  };
  assertEquals([saved(-1, 1), saved(14, 0), saved(14, 1)], [undefined, undefined, 4]);
});

const blank = mmioState(virtioBlkState({ multiqueue: false, packed: false })).zero();

Deno.test("virtio: a queue that is not set up has no index", () => {
  const description = mmioState(virtioBlkState({ multiqueue: false, packed: false }));
  const queue = { num: 256, align: 4096, desc: 0n, lastAvailIdx: 0 };
  const good: typeof blank = { ...blank, queues: [queue] };
  assertEquals(decode(description, encode(description, good)), good);
  const bad = { ...good, queues: [queue, { ...queue, lastAvailIdx: 9 }] };
  const error = assertThrows(() => decode(description, encode(description, bad)), VmStateError);
  assertEquals(error.reason, "address 0x0 inconsistent with Host index 0x9");
  assertEquals(error.path, "virtio.queues[1]");
});

Deno.test("virtio: a request in flight is 49168 bytes, and says its queue if there are several", () => {
  const element = {
    index: 3,
    out: [{ address: 0x1000n, length: 16n }],
    in: [{ address: 0x2000n, length: 512n }, { address: 0x3000n, length: 1n }],
    descriptors: undefined,
  };
  const size =
    encode(mmioState(virtioBlkState({ multiqueue: false, packed: false })), blank).length;
  const one = mmioState(virtioBlkState({ multiqueue: false, packed: false }));
  const several = mmioState(virtioBlkState({ multiqueue: true, packed: false }));
  const inOne = { ...blank, device: [{ element }] };
  const inSeveral = { ...blank, device: [{ queue: 1, element }] };
  assertEquals(encode(one, inOne).length - size, 1 + 49168);
  assertEquals(encode(several, inSeveral).length - size, 1 + 4 + 49168);
  assertEquals(decode(one, encode(one, inOne)), inOne);
  assertEquals(decode(several, encode(several, inSeveral)), inSeveral);
});

Deno.test("virtio-net: fields for several queue pairs and for offloads are there when they apply", () => {
  const single = mmioState(virtioNetState(false));
  const several = mmioState(virtioNetState(true));
  const state = single.zero();
  const size = encode(single, state).length;
  const offloads = {
    ...state,
    guestFeaturesLo: 4,
    device: { ...state.device, currGuestOffloads: 0x80n },
  };
  assertEquals(encode(single, offloads).length - size, 8);
  assertEquals(decode(single, encode(single, offloads)), offloads);
  const pairs = {
    ...state,
    device: { ...state.device, maxQueuePairs: 4, currQueuePairs: 3, txWaitingOthers: [0, 1] },
  };
  assertEquals(encode(several, pairs).length - size, 2 + 2 + 8);
  assertEquals(decode(several, encode(several, pairs)), pairs);
});
