/** Looking at values and memory. */
import { savePhysicalMemory, saveVirtualMemory } from "../../save_memory.ts";
import { defineHumanCommand, type HumanCommand, type HumanInvocation } from "../command.ts";
import { describeValue, dumpMemory } from "../memory_dump.ts";
import {
  type DisplayFormat,
  filename,
  format,
  HumanArgumentError,
  integer,
} from "../parameters.ts";

const PAGE_SIZE = 4096n;

/** Remembers the format for the next command, and refuses the one that molt does not have. */
function use({ state }: HumanInvocation, given: DisplayFormat): void {
  if (given.format === "i") {
    throw new HumanArgumentError("format 'i' is not available: there is no disassembler");
  }
  state.format = given;
}

/** Memory as the chosen vCPU sees it, page by page. */
function readVirtual({ context, state }: HumanInvocation) {
  return (address: bigint, length: number): Uint8Array | undefined => {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const here = BigInt.asUintN(64, address + BigInt(done));
      const size = Math.min(length - done, Number(PAGE_SIZE - (here % PAGE_SIZE)));
      const physical = context.memory.translate(state.cpu, here);
      const piece = physical === undefined
        ? undefined
        : context.memory.readPhysical(physical, size);
      if (piece === undefined) return undefined;
      bytes.set(piece, done);
      done += size;
    }
    return bytes;
  };
}

export const memoryCommands: readonly HumanCommand[] = [
  defineHumanCommand({
    names: "x",
    help: "virtual memory dump starting at 'addr'",
    parameters: { format, addr: integer },
    run: (invocation, { format, addr }) => {
      use(invocation, format);
      invocation.print(
        dumpMemory(BigInt.asUintN(64, addr), format, 16, readVirtual(invocation)),
      );
    },
  }),
  defineHumanCommand({
    names: "xp",
    help: "physical memory dump starting at 'addr'",
    parameters: { format, addr: integer },
    run: (invocation, { format, addr }) => {
      use(invocation, format);
      const { memory } = invocation.context;
      invocation.print(
        dumpMemory(
          BigInt.asUintN(64, addr),
          format,
          8,
          (address, length) => memory.readPhysical(Number(address), length),
        ),
      );
    },
  }),
  defineHumanCommand({
    names: "print|p",
    help: "print expression value (use $reg for CPU register access)",
    parameters: { format, expr: integer },
    run: (invocation, { format, expr }) => {
      use(invocation, format);
      invocation.print(`${describeValue(expr, format.format)}\n`);
    },
  }),
  defineHumanCommand({
    names: "memsave",
    help: "save to disk virtual memory dump starting at 'addr' of size 'size'",
    parameters: { addr: integer, size: integer, file: filename },
    run: ({ context, state }, { addr, size, file }) =>
      saveVirtualMemory(
        context.memory,
        state.cpu,
        addr,
        Number(size),
        file,
        context.descriptors.openPath,
      ),
  }),
  defineHumanCommand({
    names: "pmemsave",
    help: "save to disk physical memory dump starting at 'addr' of size 'size'",
    parameters: { addr: integer, size: integer, file: filename },
    run: ({ context }, { addr, size, file }) =>
      savePhysicalMemory(
        context.memory,
        Number(addr),
        Number(size),
        file,
        context.descriptors.openPath,
      ),
  }),
];
