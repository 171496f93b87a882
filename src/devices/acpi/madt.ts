/** What the MADTs of all boards have in common (ACPI specification 6.5, chapter 5.2.12). */

export const MADT_REVISION = 3;
/** Flags: there are two PICs beside. */
export const MADT_PC_AT = 1;
export const LOCAL_APIC_ADDRESS = 0xfee00000;
export const IOAPIC_ADDRESS = 0xfec00000;
export const ALL_PROCESSORS = 0xff;
/** LINT pin of the NMI. */
export const NMI_LINT = 1;
