/** Saved state of an i8259 interrupt controller: section `i8259`, instance 0 master, 1 slave. */
import { type StateOf, struct, subsection, u8 } from "../vmstate/vmstate.ts";

export const picState = struct({
  name: "i8259",
  version: 1,
  fields: {
    /** Levels of the inputs when last looked at, for edge detection. */
    lastIrr: u8(),
    irr: u8(),
    imr: u8(),
    isr: u8(),
    /** Rotation of priorities. */
    priorityAdd: u8(),
    /** Vector of input 0 (ICW2). */
    irqBase: u8(),
    /** OCW3: 1 selects ISR for reading. */
    readRegSelect: u8(),
    poll: u8(),
    specialMask: u8(),
    /** Which initialisation word is awaited, 0 to 3. */
    initState: u8(),
    autoEoi: u8(),
    rotateOnAutoEoi: u8(),
    specialFullyNestedMode: u8(),
    /** Whether ICW4 is awaited. */
    init4: u8(),
    /** Not known to KVM: 0. */
    singleMode: u8(),
    /** Edge (0) or level (1) control of the inputs. */
    elcr: u8(),
  },
  subsections: {
    /** Level-triggered mode (ICW1). */
    ltim: subsection({ name: "i8259/ltim", version: 1, key: "ltim", field: u8(), absent: 0 }),
  },
});

export type PicState = StateOf<typeof picState>;
