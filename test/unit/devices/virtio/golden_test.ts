/** Sections that QEMU 11.1.3 wrote, loaded into the devices and saved again. */
import { assertEquals } from "@std/assert";
import { BlockImage } from "../../../../src/backends/block/image.ts";
import { type NetworkBackend, noAbilities } from "../../../../src/backends/network/backend.ts";
import { BuiltinRng } from "../../../../src/backends/rng.ts";
import { type BlkProperties, VirtioBlk } from "../../../../src/devices/virtio/blk.ts";
import type { VirtioDevice } from "../../../../src/devices/virtio/device.ts";
import { VirtioNet } from "../../../../src/devices/virtio/net.ts";
import type { NetProperties } from "../../../../src/devices/virtio/net_properties.ts";
import { VirtioRng } from "../../../../src/devices/virtio/rng.ts";
import { VirtioSerial } from "../../../../src/devices/virtio/serial.ts";
import { StateWriter } from "../../../../src/vmstate/vmstate.ts";
import { openFile } from "../../../../src/native/file.ts";
import { fixture } from "../../../golden/fixtures.ts";
import { itemsOf, readerOf } from "../../../golden/rewrite.ts";
import { ManualClock } from "../dependencies.ts";
import { blkDefaults, netDefaults } from "./properties.ts";
import { Workbench, type WorkbenchDependencies } from "./workbench.ts";

type Create = (dependencies: WorkbenchDependencies) => VirtioDevice<unknown>;

const common = {
  event_idx: true,
  indirect_desc: true,
  any_layout: true,
  notify_on_empty: true,
  queue_reset: true,
};

function disk(properties: Partial<BlkProperties> = {}): Create {
  return ({ memory, loop }) =>
    new VirtioBlk(
      new BlockImage(
        "d0",
        {
          driver: "null-co",
          size: 1 << 20,
          readZeroes: true,
          latencyNs: 0,
          readOnly: false,
          autoReadOnly: false,
          direct: false,
          noFlush: false,
          discard: "ignore",
          detectZeroes: "off",
          forceShare: false,
        },
        () => undefined,
        { adopt: () => undefined, openPath: openFile, warn: unreachable },
      ),
      { ...blkDefaults, ...properties },
      memory.devices,
      loop,
      { failed: () => {} },
    );
}

function unreachable(): never {
  throw new Error("there are no descriptor sets");
}

/** A backend with the abilities of one, that moves no frames. */
function silentBackend(pairs: number, tap: boolean): NetworkBackend {
  return {
    id: "n0",
    abilities: tap ? { header: true, ufo: true, uso: true } : noAbilities,
    pairs,
    adopted: true,
    description: "",
    port: () => ({ kind: "none" }),
    set portChanged(_listener: (pair: number) => void) {/* it never is */},
    set inUse(_on: boolean) {/* nothing depends on it */},
    lost: () => {},
    setHeaderSize: () => {},
    setOffload: () => {},
    setActivePairs: () => {},
    descriptors: () => [],
    [Symbol.dispose]: () => {},
  };
}

function card(pairs = 1, tap = false, properties: Partial<NetProperties> = {}): Create {
  return ({ loop }) =>
    new VirtioNet(silentBackend(pairs, tap), { ...netDefaults, ...properties }, loop);
}

function ports(console: boolean): Create {
  return () =>
    new VirtioSerial({ ...common, maxPorts: 31 }, [{
      number: console ? 0 : 1,
      name: undefined,
      isConsole: console,
      backend: {
        id: "c0",
        attach: (frontend) => frontend.event("opened"),
        detach: () => {},
        write: () => 0,
        acceptInput: () => {},
        [Symbol.dispose]: () => {},
      },
      guestConnectionChanged: () => {},
    }]);
}

const rng: Create = () =>
  new VirtioRng(
    new BuiltinRng(),
    { ...common, maxBytes: Number.MAX_SAFE_INTEGER, period: 65536 },
    new ManualClock(),
  );

const devices = {
  "virtio-blk": disk(),
  "virtio-net": card(),
  "virtio-console": ports(true),
  "virtio-rng": rng,
};

const cases: readonly [stream: string, legacy: boolean, Readonly<Record<string, Create>>][] = [
  ["guest-min-virtio-modern.mig", false, devices],
  ["guest-min-virtio-legacy.mig", true, devices],
  ["guest-default-virtio-modern.mig", false, devices],
  ["microvm-default-virtio-legacy.mig", true, devices],
  ["microvm-default-virtio-modern.mig", false, devices],
  ["inflight-blk.mig", false, { "virtio-blk": disk({ readError: "stop" }) }],
  ["inflight-blk-2q.mig", false, { "virtio-blk": disk({ readError: "stop", queues: 2 }) }],
  ["inflight-serial.mig", false, { "virtio-console": ports(false) }],
  // `virtio/128bit_features` holds tunnel offloads, which are not offered.
  ["virtio-net-tap-mq.mig", false, { "virtio-net": card(2, true, { mq: true }) }],
];

for (const [stream, legacy, create] of cases) {
  for (const [name, make] of Object.entries(create)) {
    Deno.test(`${stream}: ${name} is saved as it was loaded`, async () => {
      for (const item of itemsOf(readerOf(await fixture(stream)))) {
        if (item.kind !== "device" || !item.section.idstr.endsWith(`/${name}`)) continue;
        await using bench = new Workbench(make, { legacy, start: false, memorySize: 8 << 20 });
        const { transport } = bench;
        const state = item.state as ReturnType<typeof transport.save>;
        transport.load({ ...state, guestFeaturesEx: undefined });
        const written = new StateWriter();
        transport.description.encode(written, transport.save());
        const expected = new StateWriter();
        item.description.encode(expected, { ...state, guestFeaturesEx: undefined });
        assertEquals(hex(written.bytes), hex(expected.bytes));
        return;
      }
      throw new Error(`${stream} has no ${name}`);
    });
  }
}

function hex(bytes: Uint8Array): string[] {
  const lines: string[] = [];
  for (let i = 0; i < bytes.length; i += 32) {
    lines.push(
      Array.from(bytes.subarray(i, i + 32), (b) => b.toString(16).padStart(2, "0")).join(""),
    );
  }
  return lines;
}
