import { assertEquals } from "@std/assert";
import { DeviceInterrupt, InterruptBits } from "../../../src/native/device_interrupt.ts";
import { processLoop } from "../../../src/native/event_loop.ts";
import { createEvent } from "../../../src/native/event_descriptor.ts";

for (const [way, gsi] of [["an input", 5], ["a message", undefined]] as const) {
  Deno.test(`an interrupt by ${way} that KVM refuses is reported, once until it is restored`, async () => {
    // No virtual machine: the kernel knows no such request.
    using vm = createEvent();
    using interrupt = new DeviceInterrupt(vm.fd, gsi);
    using _served = processLoop().keepServing();
    const faults: string[] = [];
    let reported = Promise.withResolvers<void>();
    using _ = interrupt.watch(processLoop(), (fault) => {
      faults.push(String(fault));
      reported.resolve();
    });
    if (gsi === undefined) interrupt.route({ address: 0xfee00000, data: 0x31 });
    for (let i = 0; i < 3; i++) {
      interrupt.queueUsed(0);
      interrupt.acknowledge(InterruptBits.queue);
    }
    await reported.promise;
    const text = "SystemError: Could not interrupt the guest: Inappropriate ioctl for device";
    assertEquals(faults, [text]);

    reported = Promise.withResolvers<void>();
    interrupt.restore(InterruptBits.queue);
    await reported.promise;
    assertEquals(faults, [text, text]);
  });
}
