/** A stock guest from its first instruction to its last. */
import {
  awaitProgress,
  checkKernelLog,
  checkUnmounted,
  expect,
  shell,
  startStreams,
  workers,
} from "./checks.ts";
import { type Boot, bootName, type Ending } from "../plan.ts";
import { Guest } from "./guest.ts";
import type { Test, TestContext } from "./test.ts";

/** Boots a guest, looks at what it finds, reboots it, and lets it power itself off. */
export function bootTest(boot: Boot): Test {
  return {
    group: "boot",
    name: bootName(boot),
    async run(test) {
      await using guest = test.use(await Guest.boot(boot));
      try {
        await useGuest(test, guest);
        if (boot.reboots) await reboot(test, guest);
        await end(test, guest, boot.ending);
      } catch (error) {
        throw await guest.examine(error);
      }
    },
  };
}

/** Looks at what the guest finds. */
async function useGuest(test: TestContext, guest: Guest): Promise<void> {
  const { options } = guest;
  await expect(guest, "uname -r", /cloud-amd64$/);
  await expect(guest, "nproc", new RegExp(`^${options.cpus}$`));
  test.value("vCPUs", String(options.cpus));
  const uptime = await shell(guest, "cut -d' ' -f1 /proc/uptime");
  test.value("up in", `${uptime} s`);

  await expect(guest, "grep ' / ' /proc/mounts", /^\/dev\/vd[ab] \/ ext4 rw/m);
  await shell(guest, "echo molt > /marker && sync");
  test.value("root", "virtio-blk");
  await expect(guest, "cat /sys/class/misc/hw_random/rng_current", /^virtio_rng/);
  const [first, second] = [await randomBytes(guest), await randomBytes(guest)];
  if (first === second) throw new Error(`the same random bytes twice: ${first}`);
  test.value("rng", "ok");
  await startStreams(guest);
  await awaitProgress(guest, await workers(guest));
  test.value("network", "tap, passt");
  await checkKernelLog(guest);
}

/** Has the guest reboot itself. */
async function reboot(test: TestContext, guest: Guest): Promise<void> {
  using resets = guest.process.qmp.events("RESET");
  await shell(guest, "reboot");
  const reset = await resets.take({ signal: test.patience(180) });
  if (reset.data.reason !== "guest-reset") throw new Error(`reset by ${reset.data.reason}`);
  await guest.awaitShell();
  await expect(guest, "cat /marker", /^molt$/);
  test.value("reboot", "ok");
}

/** Has the guest end itself, and looks at what it leaves. */
async function end(test: TestContext, guest: Guest, ending: Ending): Promise<void> {
  using shutdowns = guest.process.qmp.events("SHUTDOWN");
  if (ending === "poweroff") await shell(guest, "poweroff");
  else await guest.process.qmp.execute("system_powerdown");
  const shutdown = await shutdowns.take({ signal: test.patience(180) });
  if (shutdown.data.reason !== "guest-shutdown") {
    throw new Error(`shut down by ${shutdown.data.reason}`);
  }
  await guest.awaitEnd(test.patience(180));
  await checkUnmounted(guest.directory.file("root.ext4"));
  test.value("end", ending);
}

async function randomBytes(guest: Guest): Promise<string> {
  return await shell(guest, "dd if=/dev/hwrng bs=32 count=1 2>/dev/null | md5sum");
}
