/** A guest changes what it sees of its memory while it runs, as chipsets let it do with the first mebibyte. */
import { assertEquals } from "@std/assert";
import type { AccessSize } from "../../src/devices/device.ts";
import { Kvm } from "../../src/kvm/kvm.ts";
import { Board, type BoardPlan } from "../../src/machine/board.ts";
import { q35Ram } from "../../src/machine/boards/q35_ram.ts";
import { MachineRam } from "../../src/machine/ram.ts";
import { processLoop } from "../../src/native/event_loop.ts";
import { PageBitmap } from "../../src/native/pages.ts";

const MiB = 1 << 20;
const FIRMWARE_SIZE = 0x10000;
/** The region that the guest has shown now one, now the other. */
const WINDOW = 0xc4000;
/** Port at which the guest chooses: 1 RAM, 0 the option ROMs. Port at which it says what it reads. */
const [CHOOSE, SAY] = [0x60, 0x61];

/** Writes each of both, reads back what it sees, and halts. */
const program = [
  ...[0xb8, 0x40, 0xc4, 0x8e, 0xd8], // mov ax, 0xc440; mov ds, ax
  ...[0xc6, 0x06, 0x00, 0x00, 0x11], // mov byte [0], 0x11
  ...[0xb0, 0x01, 0xe6, CHOOSE], // mov al, 1; out CHOOSE, al
  ...[0xa0, 0x00, 0x00, 0xe6, SAY], // mov al, [0]; out SAY, al
  ...[0xc6, 0x06, 0x00, 0x00, 0x22], // mov byte [0], 0x22
  ...[0xb0, 0x00, 0xe6, CHOOSE],
  ...[0xa0, 0x00, 0x00, 0xe6, SAY],
  ...[0xb0, 0x01, 0xe6, CHOOSE],
  ...[0xa0, 0x00, 0x00, 0xe6, SAY],
  ...[0xb0, 0xff, 0xe6, SAY], // done
  ...[0xfa, 0xf4, 0xeb, 0xfd], // cli; hlt; jmp to the hlt
];

function firmware(): Uint8Array<ArrayBuffer> {
  const image = new Uint8Array(FIRMWARE_SIZE);
  image.set(program, 0xff00);
  image.set([0xe9, 0x0d, 0xff], 0xfff0); // jmp 0xff00
  return image;
}

for (const dirtyRingSize of [0, 1024]) {
  const way = dirtyRingSize === 0 ? "the dirty log" : "dirty rings";
  Deno.test(`a guest sees at once what it chose, and ${way} has what it wrote to either`, async () => {
    const loop = processLoop();
    using _served = loop.keepServing();
    const image = firmware();
    const ram = new MachineRam({
      size: 16 * MiB,
      plan: q35Ram(false),
      firmware: image,
      shareAuxiliary: false,
      adopt: () => undefined,
      openPath: () => {
        throw new Error("no file is opened");
      },
    });
    const roms = ram.block("pc.rom");
    if (roms === undefined) throw new Error("there is no pc.rom");
    const said: number[] = [];
    const done = Promise.withResolvers<void>();
    const plan: BoardPlan = {
      pit: false,
      populate: ({ host, addProcessors }) => {
        const choose = (from: number) => {
          const block = from === 1 ? ram.main : roms;
          const blockOffset = from === 1 ? WINDOW : WINDOW - 0xc0000;
          host.changeMemory(() => ram.memory.remap(WINDOW, { block, blockOffset }));
        };
        host.ports.map("test", CHOOSE, 2, {
          read: () => 0xff,
          write: (offset: number, _size: AccessSize, value: number) => {
            if (CHOOSE + offset === CHOOSE) choose(value);
            else if (value === 0xff) done.resolve();
            else said.push(value);
          },
        });
        addProcessors();
        return {
          load: () => {
            ram.firmware.mapping.bytes.set(image);
            choose(0);
            return { mode: "reset vector" };
          },
        };
      },
    };
    using board = new Board(
      loop,
      new Kvm(),
      ram,
      plan,
      {
        cpus: 2,
        cpuFlags: new Map(),
        testDriven: false,
        dirtyRingSize,
        report: (message) => done.reject(new Error(message)),
        runStateEntered: () => {},
      },
      { noReboot: false, noShutdown: false },
      "prelaunch",
      () => {},
    );
    using mainPages = new PageBitmap(16 * MiB / 4096);
    using romPages = new PageBitmap(0x20);
    board.machine.resetDevices();
    const bitmaps = new Map([[ram.main, mainPages], [roms, romPages]]);
    board.dirtyTracker.start();
    ram.memory.recordDeviceWrites(bitmaps);
    board.machine.start();
    await done.promise;
    board.machine.stop();
    await board.dirtyTracker.collect(bitmaps);
    ram.memory.recordDeviceWrites(undefined);
    board.dirtyTracker.stop();
    assertEquals(said, [0, 0x11, 0x22]);
    assertEquals([ram.main.mapping.bytes[0xc4400], roms.mapping.bytes[0x4400]], [0x22, 0x11]);
    assertEquals(mainPages.count(0xc4, 0xc5), 1);
    assertEquals(romPages.count(4, 5), 1);
  });
}
