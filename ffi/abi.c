/*
 * What the compiler says of the structures that TypeScript lays out by hand: the one table that src/native
 * compares with its own (layouts.ts) when it loads the library.
 */
#include "molt.h"

#include <linux/kvm.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <termios.h>

#include "channel.h"
#include "dirty.h"
#include "image_format.h"
#include "mapped_ram.h"
#include "ram_load.h"
#include "thread_pool.h"
#include "vcpu.h"
#include "virtio_blk_request.h"
#include "virtio_net_filter.h"
#include "wait.h"

#define SIZE(type) { "sizeof " #type, sizeof(struct type) }
#define OFFSET(type, member) { #type "." #member, offsetof(struct type, member) }
#define VALUE(name) { #name, (name) }

static const struct {
	const char *name;
	uint64_t value;
} table[] = {
	/* The kernel's. */
	SIZE(kvm_regs),
	SIZE(kvm_sregs),
	OFFSET(kvm_sregs, cr0),
	OFFSET(kvm_sregs, efer),
	OFFSET(kvm_sregs, apic_base),
	OFFSET(kvm_sregs, interrupt_bitmap),
	SIZE(kvm_segment),
	SIZE(kvm_dtable),
	SIZE(kvm_fpu),
	SIZE(kvm_debugregs),
	SIZE(kvm_vcpu_events),
	OFFSET(kvm_vcpu_events, exception),
	OFFSET(kvm_vcpu_events, interrupt),
	OFFSET(kvm_vcpu_events, nmi),
	OFFSET(kvm_vcpu_events, sipi_vector),
	OFFSET(kvm_vcpu_events, flags),
	SIZE(kvm_mp_state),
	SIZE(kvm_lapic_state),
	SIZE(kvm_irqchip),
	SIZE(kvm_pic_state),
	SIZE(kvm_ioapic_state),
	SIZE(kvm_pit_state2),
	OFFSET(kvm_pit_state2, flags),
	SIZE(kvm_pit_channel_state),
	SIZE(kvm_pit_config),
	SIZE(kvm_clock_data),
	OFFSET(kvm_clock_data, flags),
	SIZE(kvm_msr_entry),
	SIZE(kvm_msrs),
	SIZE(kvm_cpuid_entry2),
	SIZE(kvm_cpuid2),
	SIZE(kvm_xsave),
	SIZE(kvm_xcrs),
	SIZE(kvm_userspace_memory_region),
	SIZE(kvm_irq_level),
	SIZE(kvm_msi),
	SIZE(kvm_irqfd),
	SIZE(kvm_ioeventfd),
	SIZE(kvm_dirty_log),
	SIZE(kvm_clear_dirty_log),
	SIZE(kvm_dirty_gfn),
	SIZE(kvm_enable_cap),
	SIZE(kvm_irq_routing),
	SIZE(kvm_irq_routing_entry),
	OFFSET(kvm_run, request_interrupt_window),
	OFFSET(kvm_run, immediate_exit),
	OFFSET(kvm_run, exit_reason),
	OFFSET(kvm_run, io),
	OFFSET(kvm_run, mmio),
	OFFSET(kvm_run, internal),
	OFFSET(kvm_run, system_event),
	OFFSET(kvm_run, hypercall),
	OFFSET(kvm_run, fail_entry),
	OFFSET(kvm_run, eoi),
	/* The C library's of the host. */
	SIZE(termios),
	SIZE(stat),
	OFFSET(stat, st_dev),
	OFFSET(stat, st_ino),
	OFFSET(stat, st_mode),
	OFFSET(stat, st_rdev),
	OFFSET(stat, st_size),
	OFFSET(stat, st_blocks),
	/* This library's. */
	SIZE(molt_vcpu_shared),
	OFFSET(molt_vcpu_shared, state),
	OFFSET(molt_vcpu_shared, error),
	SIZE(molt_ram_target),
	OFFSET(molt_ram_target, memory),
	OFFSET(molt_ram_target, length),
	OFFSET(molt_ram_target, written),
	OFFSET(molt_ram_target, name),
	SIZE(molt_channel),
	OFFSET(molt_channel, fd),
	OFFSET(molt_channel, cancel),
	OFFSET(molt_channel, offset),
	SIZE(molt_page_transfer),
	OFFSET(molt_page_transfer, memory),
	OFFSET(molt_page_transfer, file_offset),
	OFFSET(molt_page_transfer, selected),
	OFFSET(molt_page_transfer, stored),
	OFFSET(molt_page_transfer, written),
	OFFSET(molt_page_transfer, first),
	OFFSET(molt_page_transfer, end),
	OFFSET(molt_page_transfer, fd),
	OFFSET(molt_page_transfer, direction),
	OFFSET(molt_page_transfer, direct_fd),
	OFFSET(molt_page_transfer, direct_from),
	OFFSET(molt_page_transfer, detect_zero),
	OFFSET(molt_page_transfer, cancelled),
	OFFSET(molt_page_transfer, moved),
	OFFSET(molt_page_transfer, zero),
	OFFSET(molt_page_transfer, error_page),
	SIZE(molt_wait_result),
	OFFSET(molt_wait_result, vcpus),
	OFFSET(molt_wait_result, events),
	SIZE(molt_wait_event),
	OFFSET(molt_wait_event, events),
	OFFSET(molt_wait_event, token),
	SIZE(molt_ram_record),
	OFFSET(molt_ram_record, offset),
	OFFSET(molt_ram_record, data),
	OFFSET(molt_ram_record, end),
	OFFSET(molt_ram_record, kind),
	OFFSET(molt_ram_record, block),
	OFFSET(molt_ram_record, size),
	VALUE(MOLT_RECORD_BAD_DIFFERENCE),
	SIZE(molt_ram_buffer),
	OFFSET(molt_ram_buffer, start),
	OFFSET(molt_ram_buffer, end),
	OFFSET(molt_ram_buffer, consumed),
	OFFSET(molt_ram_buffer, current),
	OFFSET(molt_ram_buffer, ended),
	SIZE(molt_completion),
	OFFSET(molt_completion, token),
	OFFSET(molt_completion, result),
	SIZE(molt_memory_region),
	OFFSET(molt_memory_region, guest),
	OFFSET(molt_memory_region, size),
	OFFSET(molt_memory_region, host),
	SIZE(molt_dirty_ring),
	OFFSET(molt_dirty_ring, entries),
	OFFSET(molt_dirty_ring, size),
	OFFSET(molt_dirty_ring, next),
	SIZE(molt_dirty_slot),
	OFFSET(molt_dirty_slot, bitmap),
	OFFSET(molt_dirty_slot, first),
	OFFSET(molt_dirty_slot, pages),
	SIZE(molt_queue_setup),
	OFFSET(molt_queue_setup, descriptors),
	OFFSET(molt_queue_setup, available),
	OFFSET(molt_queue_setup, used),
	OFFSET(molt_queue_setup, size),
	OFFSET(molt_queue_setup, features),
	OFFSET(molt_queue_setup, last_available),
	SIZE(molt_element),
	OFFSET(molt_element, head),
	OFFSET(molt_element, out_count),
	OFFSET(molt_element, in_count),
	OFFSET(molt_element, buffers),
	SIZE(molt_buffer),
	OFFSET(molt_buffer, address),
	OFFSET(molt_buffer, length),
	SIZE(molt_disk_setup),
	OFFSET(molt_disk_setup, image.fd),
	OFFSET(molt_disk_setup, image.flags),
	OFFSET(molt_disk_setup, image.offset),
	OFFSET(molt_disk_setup, image.size),
	OFFSET(molt_disk_setup, image.latency),
	OFFSET(molt_disk_setup, image.alignment),
	OFFSET(molt_disk_setup, sector),
	OFFSET(molt_disk_setup, read_only),
	OFFSET(molt_disk_setup, read_error),
	OFFSET(molt_disk_setup, write_error),
	OFFSET(molt_disk_setup, discard_maximum),
	OFFSET(molt_disk_setup, write_zeroes_maximum),
	OFFSET(molt_disk_setup, serial),
	SIZE(molt_disk_error),
	OFFSET(molt_disk_error, operation),
	OFFSET(molt_disk_error, action),
	OFFSET(molt_disk_error, error),
	SIZE(molt_disk_statistics),
	OFFSET(molt_disk_statistics, bytes),
	OFFSET(molt_disk_statistics, operations),
	OFFSET(molt_disk_statistics, failed),
	OFFSET(molt_disk_statistics, invalid),
	OFFSET(molt_disk_statistics, time),
	SIZE(molt_net_filter),
	OFFSET(molt_net_filter, address),
	OFFSET(molt_net_filter, promiscuous),
	OFFSET(molt_net_filter, all_multicast),
	OFFSET(molt_net_filter, all_unicast),
	OFFSET(molt_net_filter, no_multicast),
	OFFSET(molt_net_filter, no_unicast),
	OFFSET(molt_net_filter, no_broadcast),
	OFFSET(molt_net_filter, unicast),
	OFFSET(molt_net_filter, entries),
	OFFSET(molt_net_filter, table),
	OFFSET(molt_net_filter, vlans),
	/* Limits and codes. */
	VALUE(MOLT_QUEUE_MAXIMUM),
	VALUE(MOLT_QUEUE_REQUEST),
	VALUE(MOLT_DISK_ERRORS_KEPT),
	VALUE(MOLT_IMAGE_PROBE_SIZE),
	VALUE(MOLT_NET_FILTER_ENTRIES),
	VALUE(MOLT_WAIT_EVENTS),
	VALUE(MOLT_CALL_ARGUMENTS),
};

/*
 * The table as text: a line for each entry, `sizeof TYPE`, `TYPE.MEMBER` (its offset) or the name of a
 * constant, a space and the value. Returns how long it is, or -ENOSPC: `room` bytes do not hold it.
 */
MOLT_EXPORT int64_t molt_abi(char *text, uint64_t room)
{
	uint64_t length = 0;

	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		uint64_t left = room - length;
		int written = snprintf(text + length, left, "%s %lu\n", table[i].name,
				       table[i].value);

		if (written < 0 || (uint64_t)written >= left)
			return -ENOSPC;
		length += (uint64_t)written;
	}
	return (int64_t)length;
}
