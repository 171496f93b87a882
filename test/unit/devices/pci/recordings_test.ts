/** PCI functions in streams that QEMU 11.1.3 wrote: they are known, loaded, and written again the same. */
import { assert, assertEquals } from "@std/assert";
import type { ConfigSpace } from "../../../../src/devices/pci/config_space.ts";
import {
  busState,
  hostState,
  type PciDeviceState,
  PIRQ_COUNT,
  rootPortState,
} from "../../../../src/devices/pci/pci_state.ts";
import { rootPortSpace } from "../../../../src/devices/pci/root_port.ts";
import { virtioBalloonState } from "../../../../src/devices/virtio/balloon_state.ts";
import { virtioBlkState } from "../../../../src/devices/virtio/blk_state.ts";
import { virtioConsoleState } from "../../../../src/devices/virtio/console_state.ts";
import { virtioNetState } from "../../../../src/devices/virtio/net_state.ts";
import {
  virtioPciKinds,
  type VirtioPciOptions,
  virtioPciSpace,
} from "../../../../src/devices/virtio/pci_space.ts";
import { virtioPciState } from "../../../../src/devices/virtio/pci_state.ts";
import { virtioRngState } from "../../../../src/devices/virtio/rng_state.ts";
import {
  type StateDescription,
  StateReader,
  StateWriter,
} from "../../../../src/vmstate/vmstate.ts";
import { q35Fixture, q35StreamNames } from "../../../golden/fixtures.ts";

/** A section of a stream, found by its name. */
interface Recorded {
  readonly idstr: string;
  readonly instanceId: number;
  readonly version: number;
  /** From the section's state on, to the stream's end. */
  readonly rest: Uint8Array;
  readonly number: number;
}

const FULL = 4;
const FOOTER = 0x7e;

/** The sections of PCI functions, buses and hosts. */
function recorded(stream: Uint8Array): Recorded[] {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.length);
  const text = new TextDecoder("latin1").decode(stream);
  const names = /PCIHost|PCIBUS|0000:[0-9a-f.:]+\/(?:pcie-root-port|virtio-[a-z]+)/g;
  return Array.from(text.matchAll(names)).flatMap(({ index, 0: idstr }) => {
    if (stream[index - 1] !== idstr.length || stream[index - 6] !== FULL) return [];
    const at = index + idstr.length;
    return [{
      idstr,
      instanceId: view.getUint32(at),
      version: view.getUint32(at + 4),
      rest: stream.subarray(at + 8),
      number: view.getUint32(index - 5),
    }];
  });
}

/** Decodes a section that ends at its footer, and checks that it is written again the same. */
function decode<State>(section: Recorded, description: StateDescription<State>): State {
  assertEquals(section.version, description.version);
  const reader = new StateReader(section.rest);
  const state = description.decode(reader, section.version);
  const { rest } = section;
  assertEquals(rest[reader.offset], FOOTER, `${section.idstr} ends at its footer`);
  const { buffer, byteOffset, length } = rest;
  assertEquals(
    new DataView(buffer, byteOffset, length).getUint32(reader.offset + 1),
    section.number,
  );
  const writer = new StateWriter();
  description.encode(writer, state);
  assert(equal(writer.bytes, rest.subarray(0, reader.offset)), `${section.idstr} is the same`);
  return state;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

const drivers: Record<string, keyof typeof virtioPciKinds> = {
  "virtio-blk": "virtio-blk-pci",
  "virtio-net": "virtio-net-pci",
  "virtio-rng": "virtio-rng-pci",
  "virtio-console": "virtio-serial-pci",
  "virtio-balloon": "virtio-balloon-pci",
};

/** The function's space as the board would make it, and its part of the section. */
function functionOf(
  section: Recorded,
  isOccupied: (port: string) => boolean,
): { space: ConfigSpace; device: PciDeviceState } | undefined {
  const [address = "", name = ""] = section.idstr.split("/");
  const view = new DataView(section.rest.buffer, section.rest.byteOffset);
  if (name === "pcie-root-port") {
    const { device } = decode(section, rootPortState);
    const slot = new DataView(device.config.buffer).getUint32(0x68, true) >>> 19;
    const occupied = isOccupied(address);
    return { space: rootPortSpace({ slot, port: 0, hotplug: true, occupied }), device };
  }
  const driver = drivers[name];
  if (driver === undefined) return undefined;
  const form = address.split(":").length > 3 ? "express" : "transitional";
  // The state begins with a u32 before the configuration space.
  const control = 4 + (form === "express" ? 0xdc : 0x98) + 2;
  const vectors = (view.getUint16(control, true) & 0x7ff) + 1;
  const options: VirtioPciOptions = { form, vectors };
  const space = virtioPciSpace(virtioPciKinds[driver], options);
  const decodeOf = () => {
    switch (driver) {
      case "virtio-blk-pci":
        return decode(
          section,
          virtioPciState(virtioBlkState({ multiqueue: vectors > 2, packed: false }), options),
        );
      case "virtio-net-pci":
        return decode(section, virtioPciState(virtioNetState(false), options));
      case "virtio-serial-pci":
        return decode(section, virtioPciState(virtioConsoleState(false), options));
      case "virtio-balloon-pci":
        return decode(section, virtioPciState(virtioBalloonState, options));
      default:
        return decode(section, virtioPciState(virtioRngState, options));
    }
  };
  return { space, device: decodeOf().pci };
}

const seen = new Set<string>();

for (const name of q35StreamNames()) {
  Deno.test(`${name}: its PCI functions load and are written again the same`, async () => {
    const sections = recorded(await q35Fixture(name));
    const isOccupied = (port: string) => sections.some(({ idstr }) => idstr.startsWith(`${port}:`));
    for (const section of sections) {
      if (section.idstr === "PCIHost") decode(section, hostState);
      else if (section.idstr === "PCIBUS") {
        decode(section, busState(section.instanceId === 0 ? PIRQ_COUNT : 0));
      } else {
        const found = functionOf(section, isOccupied);
        // virtio-scsi, whose own state is not declared.
        if (found === undefined) continue;
        const { space, device } = found;
        if (name.endsWith("-idle.mig") || name.startsWith("rootports2")) {
          assertEquals(device.config, space.bytes, `${section.idstr} after a reset`);
        }
        space.load(device.config);
        assertEquals(space.bytes, device.config);
      }
      seen.add(section.idstr.replace(/^.*\//, ""));
    }
  });
}

Deno.test("the recordings have functions of each kind", () => {
  assertEquals(
    [...seen].sort(),
    ["PCIBUS", "PCIHost", "pcie-root-port", ...Object.keys(drivers)].sort(),
  );
});
