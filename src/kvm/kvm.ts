/** /dev/kvm: what the host can do, and virtual machines. */
import { Errno, SystemError } from "../native/errors.ts";
import { openFile, OpenFlags } from "../native/file.ts";
import { ioctl, ioctlValue } from "../native/control.ts";
import { Descriptor } from "../native/descriptor.ts";
import { Capability, Ioctl } from "./constants.ts";

/** The host cannot run the machine; the message says what is missing and what to do. */
export class KvmUnavailableError extends Error {
  override readonly name = "KvmUnavailableError";
}

const API_VERSION = 12;
const KVM_PATH = "/dev/kvm";

/** One entry of a CPUID table (struct kvm_cpuid_entry2). */
export interface CpuidEntry {
  readonly function: number;
  readonly index: number;
  /** Bit 0: `index` is significant. */
  readonly flags: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** What helps where /dev/kvm cannot be opened. */
function remedy(cause: unknown): string {
  if (!(cause instanceof SystemError)) return "";
  switch (cause.errno) {
    case Errno.ENOENT:
    case Errno.ENODEV:
      return " (is the module kvm_intel or kvm_amd loaded, and virtualization on in the firmware?" +
        " In a virtual machine it has to be nested)";
    case Errno.EACCES:
      return " (members of the group kvm may: usermod -aG kvm USER, then log in again)";
    default:
      return "";
  }
}

/** An open /dev/kvm. */
export class Kvm implements Disposable {
  readonly #device: Descriptor;
  /** Bytes of a vCPU's kvm_run mapping. */
  readonly runSize: number;

  constructor(path = KVM_PATH, open = openFile) {
    try {
      this.#device = open(path, OpenFlags.readWrite);
    } catch (cause) {
      throw new KvmUnavailableError(
        `Could not access KVM kernel module: ${(cause as Error).message}` +
          (path === KVM_PATH ? remedy(cause) : ""),
        { cause },
      );
    }
    try {
      this.#checkVersion(path);
    } catch (error) {
      this.#device[Symbol.dispose]();
      throw error;
    }
    this.runSize = ioctlValue(this.#device.fd, Ioctl.getVcpuMmapSize, 0, "KVM_GET_VCPU_MMAP_SIZE");
  }

  #checkVersion(path: string): void {
    let version: number;
    try {
      version = ioctlValue(this.#device.fd, Ioctl.getApiVersion, 0, "KVM_GET_API_VERSION");
    } catch (cause) {
      throw new KvmUnavailableError(`'${path}' is not KVM: ${(cause as Error).message}`, { cause });
    }
    if (version !== API_VERSION) {
      throw new KvmUnavailableError(`KVM API version ${version} is not ${API_VERSION}`);
    }
  }

  /** The value of a {@linkcode Capability}: 0 means it is missing. */
  capability(capability: number): number {
    return ioctlValue(this.#device.fd, Ioctl.checkExtension, capability, "KVM_CHECK_EXTENSION");
  }

  /** A new virtual machine's descriptor. */
  createVm(): Descriptor {
    return new Descriptor(ioctlValue(this.#device.fd, Ioctl.createVm, 0, "KVM_CREATE_VM"));
  }

  /** The CPUID that KVM can give a guest. */
  supportedCpuid(): CpuidEntry[] {
    const limit = 256;
    const bytes = new Uint8Array(8 + 40 * limit);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, limit, true);
    ioctl(this.#device.fd, Ioctl.getSupportedCpuid, bytes, "KVM_GET_SUPPORTED_CPUID");
    return Array.from({ length: view.getUint32(0, true) }, (_, i) => {
      const at = 8 + 40 * i;
      const word = (index: number) => view.getUint32(at + 4 * index, true);
      return {
        function: word(0),
        index: word(1),
        flags: word(2),
        eax: word(3),
        ebx: word(4),
        ecx: word(5),
        edx: word(6),
      };
    });
  }

  /** The MSRs whose content KVM can save and restore. */
  msrIndexList(): Set<number> {
    const limit = 1024;
    const bytes = new Uint8Array(4 + 4 * limit);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, limit, true);
    ioctl(this.#device.fd, Ioctl.getMsrIndexList, bytes, "KVM_GET_MSR_INDEX_LIST");
    const count = view.getUint32(0, true);
    return new Set(Array.from({ length: count }, (_, i) => view.getUint32(4 + 4 * i, true)));
  }

  /** IA32_MCG_CAP that KVM supports: number of banks and feature bits. */
  supportedMachineCheck(): bigint {
    const bytes = new Uint8Array(8);
    ioctl(this.#device.fd, Ioctl.getMceCapSupported, bytes, "KVM_X86_GET_MCE_CAP_SUPPORTED");
    return new DataView(bytes.buffer).getBigUint64(0, true);
  }

  /** Throws unless the host has what every machine needs. */
  requireCapabilities(): void {
    const required = ["irqchip", "userMemory", "immediateExit", "vcpuEvents", "xcrs"] as const;
    for (const name of required) {
      if (this.capability(Capability[name]) === 0) {
        throw new KvmUnavailableError(`The host's KVM lacks the capability '${name}'`);
      }
    }
  }

  [Symbol.dispose](): void {
    this.#device[Symbol.dispose]();
  }
}
