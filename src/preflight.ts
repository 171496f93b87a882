/**
 * The life of a program that is asked whether it would take a guest over (migration/cpr/preflight/protocol.ts):
 * it builds the machine, loads a copy of the guest's state, answers and ends.
 */
import { tapNames } from "./backends/network/tap.ts";
import { StreamChannel } from "./channel/stream.ts";
import type { MemoryBackendOptions } from "./configuration/memory_backend.ts";
import type { VirtualMachineConfig } from "./configuration/virtual_machine.ts";
import { type PreflightSockets, sendAnswer } from "./migration/cpr/preflight/duties.ts";
import { receiveHandover } from "./migration/cpr/transfer.ts";
import { messageOf } from "./migration/errors.ts";
import { EventHub } from "./monitor/events.ts";
import type { EventLoop } from "./native/event_loop.ts";
import { requirePlaces } from "./process/places.ts";
import { packageName } from "./version.ts";
import { VirtualMachine } from "./virtual_machine.ts";

/** How long the process that started this one may take to hand over its descriptors. */
const HANDOVER_MS = 30_000;

/** Answers for this program and `config`. */
export async function runPreflight(
  config: VirtualMachineConfig,
  loop: EventLoop,
  sockets: PreflightSockets,
): Promise<void> {
  const program = packageName();
  try {
    await tryToTake(config, loop, sockets);
  } catch (error) {
    const reason = messageOf(error);
    const answer = error instanceof UntouchedError ? { unknown: reason } : { refusal: reason };
    return await sendAnswer(sockets.answers, { program, ...answer });
  }
  await sendAnswer(sockets.answers, { program });
}

async function tryToTake(
  config: VirtualMachineConfig,
  loop: EventLoop,
  { cpr, main }: PreflightSockets,
): Promise<void> {
  using handover = await receiveHandover(cpr, HANDOVER_MS);
  requirePlaces(config);
  requireHandedOver(config, (name) => handover.descriptors.has(name));
  using vm = await VirtualMachine.standIn(withCopiedMemory(config), loop, handover);
  handover[Symbol.dispose]();
  const { tryArrival } = await import("./migration/warm_up.ts");
  using channel = new StreamChannel(main, true);
  using discarded = new EventHub(loop);
  if (vm.guest !== undefined) await tryArrival(vm.guest.source, discarded, channel);
}

/** What would have to be opened anew has effects on its own; nobody knows before whether that works. */
class UntouchedError extends Error {
  override readonly name = "UntouchedError";
}

/** Throws if the machine would make memory of its own, or open an interface. */
function requireHandedOver(config: VirtualMachineConfig, has: (name: string) => boolean): void {
  const memoryBackend = config.machine.type === "none" ? undefined : config.machine.memoryBackend;
  if (memoryBackend !== undefined && !has(memoryBackend)) {
    throw new Error(
      `The RAM block '${memoryBackend}' was not handed over, and no pages of it come: the guest's memory ` +
        "would be lost",
    );
  }
  for (const netdev of config.netdevs) {
    if (netdev.type !== "tap" || netdev.source.kind !== "interface") continue;
    if (tapNames(netdev.id).some(has)) continue;
    throw new UntouchedError(
      `-netdev tap,id=${netdev.id} is not one of the guest's: its interface would be opened, and its script run`,
    );
  }
}

/**
 * The guest uses the memory that was handed over: whatever is written here is to stay here. Huge pages are left
 * as they are, for a copy of them would have to be reserved; a load writes nothing.
 */
function withCopiedMemory(config: VirtualMachineConfig): VirtualMachineConfig {
  const objects = config.objects.map((object) => {
    if (object.type !== "memory-backend") return object;
    const copied: MemoryBackendOptions = { ...copyOf(object), prealloc: false };
    return { ...object, ...copied };
  });
  return { ...config, objects };
}

function copyOf(backend: MemoryBackendOptions): MemoryBackendOptions {
  switch (backend.kind) {
    case "file":
      return { ...backend, share: false };
    case "memfd":
      return backend.hugePageSize === undefined ? { ...backend, share: false } : backend;
    case "ram":
      if (!backend.share) return backend;
      return { ...backend, kind: "memfd", share: false, seal: false };
    case "shm":
      return { ...backend, kind: "memfd", share: false, seal: false };
  }
}
