/** Running the machine and ending it. */
import { defineHumanCommand, type HumanCommand } from "../command.ts";
import { integer } from "../parameters.ts";

export const runCommands: readonly HumanCommand[] = [
  defineHumanCommand({
    names: "stop|s",
    help: "stop emulation",
    parameters: {},
    run: ({ context }) => context.machine.stop(),
  }),
  defineHumanCommand({
    names: "cont|c",
    help: "resume emulation",
    parameters: {},
    run: ({ context }) => context.machine.cont(),
  }),
  defineHumanCommand({
    names: "system_reset",
    help: "reset the system",
    parameters: {},
    run: ({ context }) => context.machine.reset(),
  }),
  defineHumanCommand({
    names: "system_powerdown",
    help: "send system power down event",
    parameters: {},
    run: ({ context }) => context.machine.powerDown(),
  }),
  defineHumanCommand({
    names: "system_wakeup",
    help: "wakeup guest from suspend",
    parameters: {},
    run: ({ context }) => context.machine.wakeUp(),
  }),
  defineHumanCommand({
    names: "nmi",
    help: "inject an NMI",
    parameters: {},
    run: ({ context }) => context.machine.injectNmi(),
  }),
  defineHumanCommand({
    names: "quit|q",
    help: "quit the emulator",
    parameters: {},
    run: ({ context }) => context.machine.quit(),
  }),
  defineHumanCommand({
    names: "cpu",
    help: "set the default CPU",
    parameters: { index: integer },
    run: ({ context, state, print }, { index }) => {
      if (context.cpus.list().some((cpu) => BigInt(cpu.index) === index)) {
        state.cpu = Number(index);
      } else {
        print("invalid CPU index\n");
      }
    },
  }),
];
