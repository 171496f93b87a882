/** Saved state of a vCPU's local APIC: section `apic`, the instance is the APIC id. */
import { array, i32, i64, type StateOf, struct, subsection, u32, u8 } from "../vmstate/vmstate.ts";

export const apicState = struct({
  name: "apic",
  version: 3,
  fields: {
    /** IA32_APIC_BASE, low 32 bits. */
    apicbase: u32(),
    /** Register 0x020, bits 31:24. */
    id: u8(),
    /** Register 0x090. */
    arbId: u8(),
    /** Register 0x080, low 8 bits. */
    tpr: u8(),
    /** Register 0x0F0. */
    spuriousVec: u32(),
    /** Register 0x0D0, bits 31:24. */
    logDest: u8(),
    /** Register 0x0E0, bits 31:28. */
    destMode: u8(),
    /** Registers 0x100, 0x110, ... 0x170. */
    isr: array(u32(), 8),
    /** Registers 0x180 to 0x1F0. */
    tmr: array(u32(), 8),
    /** Registers 0x200 to 0x270. */
    irr: array(u32(), 8),
    /** Registers 0x320 (timer), 0x330 (thermal), 0x340 (performance), 0x350, 0x360 (LINT), 0x370 (error). */
    lvt: array(u32(), 6),
    /** Register 0x280. */
    esr: u32(),
    /** Registers 0x300 and 0x310. */
    icr: array(u32(), 2),
    /** Register 0x3E0. */
    divideConf: u32(),
    /** Derived from `divideConf`. */
    countShift: i32(),
    /** Register 0x380. */
    initialCount: u32(),
    /** Virtual-clock ns at which the registers were read. */
    initialCountLoadTime: i64(),
    /** Virtual-clock ns of the timer's next shot, 0 if it is not known. */
    nextTime: i64(),
    /** Virtual-clock ns of a timer armed in user space, -1 if there is none (always, with KVM). */
    timerExpiry: i64(),
  },
  subsections: {
    /** A processor that waits for its start-up IPI. */
    sipi: subsection({
      name: "apic_sipi",
      version: 1,
      fields: { sipiVector: i32(), waitForSipi: i32() },
      needed: (sipi) => sipi.waitForSipi !== 0,
    }),
  },
});

export type ApicState = StateOf<typeof apicState>;
