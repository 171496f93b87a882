/**
 * The life of a caretaker: it has the guest while the process that started it executes a successor, and
 * ends when the successor has the guest. If none comes for it, the caretaker stays and is its monitor.
 */
import { StreamChannel } from "./channel/stream.ts";
import type { VirtualMachineConfig } from "./cli/config.ts";
import {
  type CaretakerSockets,
  guestIsWanted,
  leaveEvents,
  takeDuties,
} from "./migration/cpr/caretaker.ts";
import { receiveHandover } from "./migration/cpr/transfer.ts";
import type { EventLoop } from "./native/event_loop.ts";
import { processId } from "./native/process.ts";
import { tell } from "./process/messages.ts";
import { VirtualMachine } from "./virtual_machine.ts";

/** Takes care of a guest. Resolves with the machine if the guest stays here for good. */
export async function takeCareOfGuest(
  config: VirtualMachineConfig,
  loop: EventLoop,
  sockets: CaretakerSockets,
): Promise<VirtualMachine | undefined> {
  using undo = new DisposableStack();
  // A guest that powers off meanwhile is the successor's to end.
  const actions = { ...config.actions, shutdown: "pause" } as const;
  const handover = undo.use(await receiveHandover(sockets.cpr));
  const duties = takeDuties(handover.descriptors);
  using ownership = duties.ownership;
  using eventsFile = duties.events;
  // What -S asked for has happened before.
  const duty = { ...config, actions, startPaused: false };
  const vm = undo.use(await VirtualMachine.standIn(duty, loop, handover));
  handover[Symbol.dispose]();
  const events = vm.events.record();
  {
    using channel = new StreamChannel(sockets.main, true);
    await vm.migration.receive(channel);
  }
  using channel = new StreamChannel(sockets.back, true);
  while (await guestIsWanted(channel)) {
    if (!await vm.migration.leave(channel, ownership)) continue;
    leaveEvents(eventsFile, events);
    return undefined;
  }
  const reason = "the successor ended without taking the guest over: it goes on in process " +
    `${processId()}, with the program from before the update`;
  tell(reason);
  vm.migration.updateFailed(reason);
  await vm.stay();
  undo.move();
  return vm;
}
