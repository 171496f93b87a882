/** Telling a guest that the emulator has lost from one that molt has. */

/**
 * The vCPUs whose page tables lie outside of a guest's RAM of `ramSize` bytes, from what `info registers
 * -a` prints; with what they hold. Nothing in a guest, and nothing that molt knows, leads there: the
 * emulator has saved the outer machine's registers in the place of the guest's (docs/testing.md).
 */
export function foreignState(registers: string, ramSize: number): string[] {
  return registers.split(/^(?=CPU#)/m).flatMap((text) => {
    const cpu = text.match(/^CPU#(\d+)/)?.[1];
    const value = (name: string) => text.match(new RegExp(`\\b${name}=([0-9a-fA-F]+)`))?.[1] ?? "0";
    if (cpu === undefined || BigInt(`0x${value("CR3")}`) < BigInt(ramSize)) return [];
    return [`vCPU ${cpu}: CR3=${value("CR3")} RIP=${value("RIP")} RAX=${value("RAX")}`];
  });
}
