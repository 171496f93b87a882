/** Which tests there are, and which of them share an outer machine. */

/** The kernel in either form in which it can be given to -kernel. */
export type KernelForm = "bzImage" | "PVH";

/** How a guest is asked to end. */
export type Ending = "poweroff" | "power button";

/** A boot that is tested. */
export interface Boot {
  readonly kernel: KernelForm;
  readonly cpus: number;
  readonly ending: Ending;
  /** Whether the guest reboots before it ends. */
  readonly reboots: boolean;
}

const firstBoots: readonly Boot[] = [
  { kernel: "bzImage", cpus: 2, ending: "power button", reboots: true },
  // CI's time is short; its other boot reboots, and so do all that --full adds.
  { kernel: "PVH", cpus: 1, ending: "poweroff", reboots: false },
];

const moreBoots: readonly Boot[] = [
  { kernel: "bzImage", cpus: 1, ending: "poweroff", reboots: true },
  { kernel: "bzImage", cpus: 4, ending: "poweroff", reboots: true },
  { kernel: "PVH", cpus: 2, ending: "power button", reboots: true },
  { kernel: "PVH", cpus: 4, ending: "power button", reboots: true },
];

/** All boots that are tested. */
export const boots: readonly Boot[] = [...firstBoots, ...moreBoots];

/** Ways to update, in an order in which one guest takes them. */
export const updateNames = [
  ...["cpr-exec", "cpr-transfer", "mapped-ram", "live", "live, QEMU and back"],
  ...["live, RAM to a file", "cpr-reboot"],
] as const;

/** A test as --only sees it. */
export function fullName(group: string, name: string): string {
  return `${group}:${name}`;
}

/** The name of a boot's test. */
export function bootName({ kernel, cpus }: Boot): string {
  return `${kernel}, -smp ${cpus}`;
}

const hardware = ["molt --version", "heartbeat, -smp 2"].map((name) => fullName("hardware", name));
const aftermath = fullName("updates", "power-off, disks");
const bootNames = (list: readonly Boot[]) => list.map((boot) => fullName("boot", bootName(boot)));
const updates = (...names: readonly string[]) => [
  ...names.map((name) => fullName("updates", name)),
  aftermath,
];

/** A file of the checkout's own tests, or those of it whose names contain `filter`. */
export interface CheckoutTest {
  readonly file: string;
  readonly filter?: string;
}

/** The test as its row shows it. */
export function checkoutTestName({ file, filter }: CheckoutTest): string {
  return filter === undefined ? file : `${file} (${filter})`;
}

/**
 * Tests of the checkout that stand for the others where the host has no /dev/kvm. All of them would take
 * hours on an emulated processor, and a cpr-exec longer than molt waits for a successor elsewhere: the
 * group "updates" has it.
 */
export const checkoutTests: readonly CheckoutTest[] = [
  { file: "test/unit/kvm/lapic_test.ts" },
  { file: "test/unit/kvm/tsc_test.ts" },
  { file: "test/vm/lost_memory_test.ts" },
  { file: "test/vm/descriptors_test.ts" },
  { file: "test/vm/command_line_test.ts", filter: "an image of another format" },
  { file: "test/migration/announced_test.ts", filter: "/restored|announce-self/" },
];
const checkoutNames = checkoutTests.map((test) => fullName("tests", checkoutTestName(test)));

/** Every test, by its full name, once. */
export const allTests: readonly string[] = [
  ...hardware,
  ...bootNames(boots),
  ...updates(...updateNames),
  ...checkoutNames,
];

/**
 * Tests by their full names, in the order in which they run. Each of the lists gets an outer machine of
 * its own: several run side by side, and none collects more translated code than it has room for
 * (docs/testing.md). CI updates a guest once in each way that makes another process its monitor; moving
 * through QEMU takes long, and cpr-reboot moves the guest's RAM to a file before. "CI without KVM" adds the
 * checkout's own tests, dealt out to as many machines.
 */
export function pieces(
  selection: "CI" | "CI without KVM" | "all" | "full",
): readonly (readonly string[])[] {
  const first = [...hardware, ...bootNames(firstBoots)];
  const forCi = [
    updates("cpr-exec", "cpr-transfer", "live"),
    [...first, ...updates("mapped-ram", "cpr-reboot")],
  ];
  if (selection === "CI") return forCi;
  if (selection === "CI without KVM") {
    const dealt = forCi.map((_, i) =>
      checkoutNames.filter((_, index) => index % forCi.length === i)
    );
    return [...forCi, ...dealt];
  }
  const booting = [first, bootNames(moreBoots.slice(0, 2)), bootNames(moreBoots.slice(2))];
  if (selection === "all") return [...booting, updates(...updateNames), checkoutNames];
  return [
    ...booting,
    updates("cpr-exec", "cpr-transfer", "mapped-ram"),
    updates("live", "live, QEMU and back"),
    updates("live, RAM to a file", "cpr-reboot"),
  ];
}
