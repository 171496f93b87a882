/**
 * Descriptions of all sections that a microvm can have, by name: for looking at a stream without a
 * machine. Of devices whose layout depends on how they were configured, all layouts are listed.
 */
import { apicState } from "../../devices/apic_state.ts";
import { fwCfgState } from "../../devices/fw_cfg_state.ts";
import { gedState } from "../../devices/ged_state.ts";
import { globalState } from "../../devices/global_state.ts";
import { ioapicState } from "../../devices/ioapic_state.ts";
import { kvmclockState } from "../../devices/kvmclock_state.ts";
import { picState } from "../../devices/pic_state.ts";
import { pitState } from "../../devices/pit_state.ts";
import { rtcState } from "../../devices/rtc_state.ts";
import { serialState } from "../../devices/serial_state.ts";
import { timerState } from "../../devices/timer_state.ts";
import { tprOptState } from "../../devices/tpr_opt_state.ts";
import { virtioBalloonState } from "../../devices/virtio/balloon_state.ts";
import { virtioBlkState } from "../../devices/virtio/blk_state.ts";
import { virtioConsoleState } from "../../devices/virtio/console_state.ts";
import { mmioState } from "../../devices/virtio/mmio_state.ts";
import { virtioNetState } from "../../devices/virtio/net_state.ts";
import { virtioRngState } from "../../devices/virtio/rng_state.ts";
import type { VirtioSection } from "../../devices/virtio/virtio_state.ts";
import { cpuCommonState, cpuState } from "../../kvm/cpu_state.ts";
import type { StateDescription } from "../../vmstate/vmstate.ts";

const virtioSections = new Map<string, readonly VirtioSection<unknown>[]>([
  [
    "virtio-blk",
    [
      virtioBlkState({ multiqueue: false, packed: false }),
      virtioBlkState({ multiqueue: true, packed: false }),
      virtioBlkState({ multiqueue: false, packed: true }),
      virtioBlkState({ multiqueue: true, packed: true }),
    ],
  ],
  ["virtio-net", [virtioNetState(false), virtioNetState(true)]],
  [
    "virtio-console",
    [virtioConsoleState(false), virtioConsoleState(true)],
  ],
  ["virtio-rng", [virtioRngState]],
  ["virtio-balloon", [virtioBalloonState]],
]);

const descriptions = new Map<string, readonly StateDescription<unknown>[]>(
  [
    apicState,
    cpuCommonState,
    cpuState,
    fwCfgState,
    gedState,
    globalState,
    ioapicState,
    kvmclockState,
    picState,
    pitState,
    rtcState,
    serialState,
    timerState,
    tprOptState,
  ].map((description) => [description.name, [description]]),
);

/** Descriptions that a section of this name can have; `undefined` if the name is not known. */
export function knownSection(idstr: string): readonly StateDescription<unknown>[] | undefined {
  const slash = idstr.indexOf("/");
  return idstr.startsWith("virtio-mmio@") && slash >= 0
    ? virtioSections.get(idstr.slice(slash + 1))?.map((section) => mmioState(section))
    : descriptions.get(idstr);
}
