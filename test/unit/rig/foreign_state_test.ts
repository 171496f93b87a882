import { assertEquals } from "@std/assert";
import { foreignState } from "../../rig/inside/foreign_state.ts";

const own =
  "RIP=ffffffff819c3643 RFL=00000087\nCR0=80050033 CR2=0 CR3=0000000005592000 CR4=00750ea0";
const outer =
  "RAX=0000000101b5d000 RBX=0\nRIP=ffffffffc035ddcc RFL=00010246\nCR2=0 CR3=0000000101bb0000 CR4=0";

Deno.test("page tables outside of a guest's RAM are the outer machine's", () => {
  assertEquals(foreignState(`CPU#0\n${outer}\nCPU#1\n${own}\n`, 256 << 20), [
    "vCPU 0: CR3=0000000101bb0000 RIP=ffffffffc035ddcc RAX=0000000101b5d000",
  ]);
});

Deno.test("a guest's own page tables are no sign of anything", () => {
  assertEquals(foreignState(`CPU#0\n${own}\nCPU#1\n${own}\n`, 256 << 20), []);
  assertEquals(foreignState("it does not answer", 256 << 20), []);
});
