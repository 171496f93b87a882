/** Saved state of an I/O APIC: section `ioapic`, instance 0 in the kernel, 1 in user space. */
import { array, padding, type StateOf, struct, u32, u64, u8 } from "../vmstate/vmstate.ts";

export const ioapicState = struct({
  name: "ioapic",
  version: 3,
  minimumVersion: 1,
  fields: {
    id: u8(),
    /** Index register. */
    ioregsel: u8(),
    unused: padding(8, { since: 2 }),
    /** Levels of the inputs, one bit for each pin. */
    irr: u32({ since: 2 }),
    /** Redirection table: 24 entries, bit 16 masks. */
    ioredtbl: array(u64(), 24),
  },
});

export type IoapicState = StateOf<typeof ioapicState>;

/** What an I/O APIC in user space keeps of it: its redirection table is in 32-bit words. */
export type IoapicRegisters = Omit<IoapicState, "ioredtbl">;
