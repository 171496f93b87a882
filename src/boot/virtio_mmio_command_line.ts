/**
 * Announces virtio-mmio devices to a Linux guest without ACPI, as the microvm board does with
 * auto-kernel-cmdline=on. Source: Linux' virtio_mmio.device= in kernel-parameters.txt.
 */

/** A transport with a device behind it. */
export interface VirtioMmioTransport {
  /** Guest physical address of its 512 registers. */
  readonly address: number;
  /** Global system interrupt. */
  readonly irq: number;
}

/**
 * The command line with ` virtio_mmio.device=512@0xADDRESS:IRQ` for each transport appended, the
 * highest address first: the board gives the first `-device` the last transport, so that this is
 * the order of the command line, and Linux names devices in it.
 */
export function appendVirtioMmio(
  commandLine: string,
  transports: readonly VirtioMmioTransport[],
): string {
  const sorted = [...transports].sort((a, b) => b.address - a.address);
  return commandLine +
    sorted.map((t) => ` virtio_mmio.device=512@0x${t.address.toString(16)}:${t.irq}`).join("");
}
