/**
 * The devices of a machine: what they take part in, each in its order. Devices may be added at any time; what
 * asks for a list gets the present one.
 */
import type { Resettable, RunStateListener } from "../devices/device.ts";
import {
  type CreatedDevice,
  type DeviceHost,
  type DeviceModel,
  type MachineDevice,
  type RequestSource,
  type ResetRank,
  resetRanks,
  type SectionRank,
  sectionRanks,
} from "../devices/model.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";

/** Where a device stands among the others. */
export interface DeviceRanks {
  readonly sectionRank?: SectionRank;
  readonly resetRank?: ResetRank;
}

interface Entry extends Required<DeviceRanks> {
  readonly device: MachineDevice;
}

/** All devices, in the order in which they were created. */
export class MachineDevices {
  readonly #entries: Entry[] = [];
  readonly #host: DeviceHost;
  readonly #owner: DisposableStack;

  /** Devices are created for `host`; `owner` disposes what they have open. */
  constructor(host: DeviceHost, owner: DisposableStack) {
    this.#host = host;
    this.#owner = owner;
  }

  /** Creates a device of a model. */
  create<Settings, Device>(model: DeviceModel<Settings, Device>, settings: Settings): Device {
    const created: CreatedDevice<Device> = model.create(settings, this.#host, this.#owner);
    this.add(created, model);
    return created.device;
  }

  /** Adds what was created elsewhere: what KVM has of the machine, and what belongs to it itself. */
  add(
    device: MachineDevice,
    { sectionRank = "device", resetRank = "device" }: DeviceRanks = {},
  ): void {
    this.#entries.push({ device, sectionRank, resetRank });
  }

  /** In the order of the stream. */
  get sections(): readonly SavedDevice[] {
    const rank = ({ sectionRank }: Entry) => sectionRanks.indexOf(sectionRank);
    return this.#entries.toSorted((a, b) => rank(a) - rank(b))
      .flatMap(({ device }) => device.sections ?? []);
  }

  /** In the order of reset. */
  get resettables(): readonly Resettable[] {
    const rank = ({ resetRank }: Entry) => resetRanks.indexOf(resetRank);
    return this.#entries.toSorted((a, b) => rank(a) - rank(b))
      .flatMap(({ device: { resettable } }) => resettable ?? []);
  }

  /** In the order in which they start. */
  get listeners(): readonly RunStateListener[] {
    return this.#entries.flatMap(({ device: { listener } }) => listener ?? []);
  }

  get timekeepers(): readonly RunStateListener[] {
    return this.#entries.flatMap(({ device: { timekeeper } }) => timekeeper ?? []);
  }

  get requestSources(): readonly RequestSource[] {
    return this.#entries.flatMap(({ device: { requests } }) => requests ?? []);
  }

  powerButton(): void {
    for (const { device } of this.#entries) device.powerButton?.();
  }

  endOfInterrupt(vector: number): void {
    for (const { device } of this.#entries) device.endOfInterrupt?.(vector);
  }
}
