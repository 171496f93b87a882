/** Device models against sections that QEMU wrote: what they load, they save again, byte for byte. */
import { assert, assertEquals } from "@std/assert";
import { FwCfg } from "../../../src/devices/fw_cfg.ts";
import { GenericEventDevice } from "../../../src/devices/ged.ts";
import { Ioapic } from "../../../src/devices/ioapic.ts";
import { Rtc } from "../../../src/devices/rtc.ts";
import { Serial } from "../../../src/devices/serial.ts";
import type { SavedDevice } from "../../../src/vmstate/saved_device.ts";
import { fixture, streamNames, streamOffset } from "../../golden/fixtures.ts";
import { itemsOf, readerOf } from "../../golden/rewrite.ts";
import { encode } from "./saved_state.ts";
import { BytesMemory, ManualClock, MemoryBackend, RecordedLine } from "./dependencies.ts";

/** ns since 1970, before the fixtures were made: none of their timers has expired. */
const FIXTURE_TIME = 1_700_000_000_000_000_000n;

const models: Record<string, (section: { instanceId: number }) => SavedDevice | undefined> = {
  "serial": () =>
    new Serial({
      irq: new RecordedLine(),
      clock: new ManualClock(),
      backend: new MemoryBackend(),
    }),
  "mc146818rtc": () =>
    new Rtc({
      irq: new RecordedLine(),
      clock: new ManualClock(FIXTURE_TIME),
      clockSurvivesMigration: true,
      startTime: 0,
    }),
  "acpi-ged": () =>
    new GenericEventDevice({ irq: new RecordedLine(), powerOff: () => {}, reset: () => {} }),
  "ioapic": ({ instanceId }) => instanceId === 1 ? new Ioapic(1, () => {}) : undefined,
  "fw_cfg": () => {
    const fwCfg = new FwCfg(new BytesMemory(0));
    for (const name of ["etc/acpi/tables", "etc/table-loader", "etc/acpi/rsdp"]) {
      fwCfg.addFile(name, new Uint8Array(4096), 0);
    }
    return fwCfg;
  },
};

Deno.test("every device section that QEMU wrote is saved again as it was loaded", async () => {
  const seen = new Set<string>();
  for (const name of streamNames()) {
    const bytes = await fixture(name);
    const offset = streamOffset(name);
    for (const item of itemsOf(readerOf(bytes, { offset }))) {
      if (item.kind !== "device") continue;
      const model = models[item.section.idstr]?.(item.section);
      if (model === undefined) continue;
      model.load(item.state);
      assertEquals(
        encode(model),
        bytes.slice(item.bodyOffset, item.bodyOffset + item.bodySize),
        `${item.section.idstr} of ${name}`,
      );
      seen.add(item.section.idstr);
    }
  }
  assert(Object.keys(models).every((idstr) => seen.has(idstr)), `only ${[...seen]} occurred`);
});
