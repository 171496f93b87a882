/** I/O ports. */
import { hex } from "../../human_readable.ts";
import { defineHumanCommand, type HumanCommand, type HumanInvocation } from "../command.ts";
import { type DisplayFormat, format, integer } from "../parameters.ts";

/** The size of an access and the letter that stands for it; four bytes unless one or two are asked for. */
function access(
  { state }: HumanInvocation,
  given: DisplayFormat,
): { readonly size: 1 | 2 | 4; readonly letter: string } {
  state.format = given;
  const size = given.size === 1 || given.size === 2 ? given.size : 4;
  return { size, letter: { 1: "b", 2: "w", 4: "l" }[size] };
}

export const portCommands: readonly HumanCommand[] = [
  defineHumanCommand({
    names: "i",
    help: "I/O port read",
    parameters: { format, addr: integer },
    run: (invocation, { format, addr }) => {
      const { size, letter } = access(invocation, format);
      const port = Number(BigInt.asUintN(16, addr));
      const value = invocation.context.ports.read(port, size);
      invocation.print(`port${letter}[0x${hex(port, 4)}] = 0x${hex(value, 2 * size)}\n`);
    },
  }),
  defineHumanCommand({
    names: "o",
    help: "I/O port write",
    parameters: { format, addr: integer, value: integer },
    run: (invocation, { format, addr, value }) => {
      const { size } = access(invocation, format);
      invocation.context.ports.write(
        Number(BigInt.asUintN(16, addr)),
        size,
        Number(BigInt.asUintN(8 * size, value)),
      );
    },
  }),
];
