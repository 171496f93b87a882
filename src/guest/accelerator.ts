/** Chooses what runs the guest: the first of the -accel options that works on this host. */
import type { AcceleratorConfig, KvmConfig } from "../configuration/machine.ts";
import { Kvm, KvmUnavailableError } from "../kvm/kvm.ts";
import type { OpenPath } from "../native/file.ts";
import { report } from "../process/messages.ts";

/** The accelerator in use. */
export interface Accelerator {
  /** `qtest`: a test drives the board, and no vCPU runs. */
  readonly kind: "kvm" | "qtest";
  /** Also with qtest: the interrupt controllers are the kernel's. */
  readonly kvm: Kvm;
  /** Entries of each vCPU's dirty ring; 0: the dirty log is used. */
  readonly dirtyRingSize: number;
}

/**
 * Opens the first KVM of `configs` that works. Those that molt does not have are passed over; so is
 * qtest, unless nothing else is there. Throws a {@linkcode KvmUnavailableError} with every reason.
 */
export function openAccelerator(
  configs: readonly AcceleratorConfig[],
  openPath: OpenPath,
): Accelerator {
  const reasons: string[] = [];
  for (const config of configs) {
    if (config.kind === "unavailable") reasons.push(`invalid accelerator ${config.name}`);
    if (config.kind !== "kvm") continue;
    try {
      const kvm = openKvm(config, openPath);
      reportFallback(reasons, "KVM");
      return { kind: "kvm", kvm, dirtyRingSize: config.dirtyRingSize };
    } catch (error) {
      if (!(error instanceof KvmUnavailableError)) throw error;
      reasons.push(error.message);
    }
  }
  if (configs.some(({ kind }) => kind === "qtest")) {
    const kvm = openKvm(undefined, openPath);
    reportFallback(reasons, "QTest");
    return { kind: "qtest", kvm, dirtyRingSize: 0 };
  }
  throw new KvmUnavailableError(
    reasons.length === 1 ? reasons[0] : `no accelerator works: ${reasons.join("; ")}`,
  );
}

/** Says why what the user preferred is not what runs the guest. */
function reportFallback(reasons: readonly string[], name: string): void {
  if (reasons.length === 0) return;
  reasons.forEach(report);
  report(`falling back to ${name}`);
}

function openKvm(config: KvmConfig | undefined, openPath: OpenPath): Kvm {
  if (config?.kernelIrqchip === "split") {
    throw new KvmUnavailableError(
      "-accel kvm,kernel-irqchip=split: not available: " +
        "the interrupt controllers are the kernel's; use kernel-irqchip=on",
    );
  }
  const kvm = new Kvm(config?.device, openPath);
  try {
    kvm.requireCapabilities();
    return kvm;
  } catch (error) {
    kvm[Symbol.dispose]();
    throw error;
  }
}
