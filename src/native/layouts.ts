/**
 * The structures that C and TypeScript share: their sizes and their members' offsets, as TypeScript uses
 * them. The C compiler's (ffi/abi.c) are compared with them when the library is loaded: a library and a
 * program that do not belong together do not get as far as a guest.
 */

/** By structure: `sizeof`, and the offset of each member. */
export const layouts = {
  // The kernel's: include/uapi/linux/kvm.h and arch/x86's asm/kvm.h on x86-64.
  kvm_regs: { sizeof: 144 },
  kvm_sregs: { sizeof: 312, cr0: 224, efer: 264, apic_base: 272, interrupt_bitmap: 280 },
  kvm_segment: { sizeof: 24 },
  kvm_dtable: { sizeof: 16 },
  kvm_fpu: { sizeof: 416 },
  kvm_debugregs: { sizeof: 128 },
  kvm_vcpu_events: { sizeof: 64, exception: 0, interrupt: 8, nmi: 12, sipi_vector: 16, flags: 20 },
  kvm_mp_state: { sizeof: 4 },
  kvm_lapic_state: { sizeof: 1024 },
  kvm_irqchip: { sizeof: 520 },
  kvm_pic_state: { sizeof: 16 },
  kvm_ioapic_state: { sizeof: 216 },
  kvm_pit_state2: { sizeof: 112, flags: 72 },
  kvm_pit_channel_state: { sizeof: 24 },
  kvm_pit_config: { sizeof: 64 },
  kvm_clock_data: { sizeof: 48, flags: 8 },
  kvm_msr_entry: { sizeof: 16 },
  kvm_msrs: { sizeof: 8 },
  kvm_cpuid_entry2: { sizeof: 40 },
  kvm_cpuid2: { sizeof: 8 },
  kvm_xsave: { sizeof: 4096 },
  kvm_xcrs: { sizeof: 392 },
  kvm_userspace_memory_region: { sizeof: 32 },
  kvm_irq_level: { sizeof: 8 },
  kvm_msi: { sizeof: 32 },
  kvm_irqfd: { sizeof: 32 },
  kvm_ioeventfd: { sizeof: 64 },
  kvm_dirty_log: { sizeof: 16 },
  kvm_clear_dirty_log: { sizeof: 24 },
  kvm_dirty_gfn: { sizeof: 16 },
  kvm_enable_cap: { sizeof: 104 },
  kvm_irq_routing: { sizeof: 8 },
  kvm_irq_routing_entry: { sizeof: 48 },
  kvm_run: {
    request_interrupt_window: 0,
    immediate_exit: 1,
    exit_reason: 8,
    io: 32,
    mmio: 32,
    internal: 32,
    system_event: 32,
    hypercall: 32,
    fail_entry: 32,
    eoi: 32,
  },

  // The C library's of the host, on x86-64.
  termios: { sizeof: 60 },
  stat: { sizeof: 144, st_dev: 0, st_ino: 8, st_mode: 24, st_rdev: 40, st_size: 48, st_blocks: 64 },

  // libmolt's.
  molt_vcpu_shared: { sizeof: 8, state: 0, error: 4 },
  molt_ram_target: { sizeof: 280, memory: 0, length: 8, written: 16, name: 24 },
  molt_channel: { sizeof: 16, fd: 0, cancel: 4, offset: 8 },
  molt_page_transfer: {
    sizeof: 104,
    memory: 0,
    file_offset: 8,
    selected: 16,
    stored: 24,
    written: 32,
    first: 40,
    end: 48,
    fd: 56,
    direction: 60,
    direct_fd: 64,
    direct_from: 68,
    detect_zero: 72,
    cancelled: 76,
    moved: 80,
    zero: 88,
    error_page: 96,
  },
  molt_wait_result: { sizeof: 516, vcpus: 0, events: 4 },
  molt_wait_event: { sizeof: 8, events: 0, token: 4 },
  molt_ram_record: { sizeof: 40, offset: 0, data: 8, end: 16, kind: 24, block: 28, size: 32 },
  molt_ram_buffer: { sizeof: 32, start: 0, end: 8, consumed: 16, current: 24, ended: 28 },
  molt_completion: { sizeof: 16, token: 0, result: 8 },
  molt_memory_region: { sizeof: 24, guest: 0, size: 8, host: 16 },
  molt_dirty_ring: { sizeof: 16, entries: 0, size: 8, next: 12 },
  molt_dirty_slot: { sizeof: 24, bitmap: 0, first: 8, pages: 16 },
  molt_queue_setup: {
    sizeof: 40,
    descriptors: 0,
    available: 8,
    used: 16,
    size: 24,
    features: 28,
    last_available: 32,
  },
  molt_element: { sizeof: 32784, head: 0, out_count: 4, in_count: 8, buffers: 16 },
  molt_buffer: { sizeof: 16, address: 0, length: 8 },
  molt_disk_setup: {
    sizeof: 88,
    "image.fd": 0,
    "image.flags": 4,
    "image.offset": 8,
    "image.size": 16,
    "image.latency": 24,
    "image.alignment": 32,
    sector: 40,
    read_only: 44,
    read_error: 48,
    write_error: 52,
    discard_maximum: 56,
    write_zeroes_maximum: 60,
    serial: 64,
  },
  molt_disk_error: { sizeof: 16, operation: 0, action: 4, error: 8 },
  molt_disk_statistics: {
    sizeof: 160,
    bytes: 0,
    operations: 32,
    failed: 64,
    invalid: 96,
    time: 128,
  },
  molt_net_filter: {
    sizeof: 916,
    address: 0,
    promiscuous: 6,
    all_multicast: 7,
    all_unicast: 8,
    no_multicast: 9,
    no_unicast: 10,
    no_broadcast: 11,
    unicast: 12,
    entries: 16,
    table: 20,
    vlans: 404,
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, number>>>>;

/** Limits and codes of the C library's headers. */
export const limits = {
  MOLT_RECORD_BAD_DIFFERENCE: 9,
  MOLT_QUEUE_MAXIMUM: 1024,
  MOLT_QUEUE_REQUEST: 15,
  MOLT_DISK_ERRORS_KEPT: 16,
  MOLT_IMAGE_PROBE_SIZE: 512,
  MOLT_NET_FILTER_ENTRIES: 64,
  MOLT_WAIT_EVENTS: 64,
  MOLT_CALL_ARGUMENTS: 12,
} as const;

/** The table as the C library has it, by `sizeof TYPE`, `TYPE.MEMBER` or a constant's name. */
export function layoutTable(): Map<string, number> {
  const members = Object.entries(layouts).flatMap(([type, layout]) =>
    Object.entries(layout).map(([member, value]): [string, number] => [
      member === "sizeof" ? `sizeof ${type}` : `${type}.${member}`,
      value,
    ])
  );
  return new Map([...members, ...Object.entries(limits)]);
}

/** What is different in the C library's table, in a line; `undefined`: nothing. */
export function layoutDifference(text: string): string | undefined {
  const there = new Map(
    text.split("\n").filter((line) => line !== "").map((line): [string, number] => {
      const space = line.lastIndexOf(" ");
      return [line.slice(0, space), Number(line.slice(space + 1))];
    }),
  );
  const here = layoutTable();
  for (const name of new Set([...here.keys(), ...there.keys()])) {
    const [ours, theirs] = [here.get(name), there.get(name)];
    if (ours === theirs) continue;
    if (theirs === undefined) return `the library does not know ${name}`;
    if (ours === undefined) return `the program does not know ${name}`;
    return `${name} is ${theirs} in the library and ${ours} in the program`;
  }
  return undefined;
}
