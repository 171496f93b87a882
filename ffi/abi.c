/* What the compiler says of the structures that TypeScript lays out by hand: compared at load. */
#include "molt.h"

#include <linux/kvm.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <termios.h>

#include "channel.h"
#include "mapped_ram.h"
#include "ram_load.h"
#include "vcpu.h"
#include "wait.h"

#define SIZE(type) { "sizeof " #type, sizeof(struct type) }
#define OFFSET(type, member) { #type "." #member, offsetof(struct type, member) }
#define VALUE(name) { #name, (int32_t)(name) }

static const struct {
	const char *name;
	int32_t value;
} abi[] = {
	SIZE(kvm_regs),
	SIZE(kvm_sregs),
	SIZE(kvm_segment),
	SIZE(kvm_dtable),
	SIZE(kvm_fpu),
	SIZE(kvm_debugregs),
	SIZE(kvm_vcpu_events),
	SIZE(kvm_mp_state),
	SIZE(kvm_lapic_state),
	SIZE(kvm_irqchip),
	SIZE(kvm_pic_state),
	SIZE(kvm_ioapic_state),
	SIZE(kvm_pit_state2),
	SIZE(kvm_pit_channel_state),
	SIZE(kvm_pit_config),
	SIZE(kvm_clock_data),
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
	OFFSET(kvm_vcpu_events, exception),
	OFFSET(kvm_vcpu_events, interrupt),
	OFFSET(kvm_vcpu_events, nmi),
	OFFSET(kvm_vcpu_events, sipi_vector),
	OFFSET(kvm_vcpu_events, flags),
	OFFSET(kvm_sregs, cr0),
	OFFSET(kvm_sregs, efer),
	OFFSET(kvm_sregs, apic_base),
	OFFSET(kvm_sregs, interrupt_bitmap),
	OFFSET(kvm_pit_state2, flags),
	OFFSET(kvm_clock_data, flags),
	SIZE(molt_vcpu_shared),
	OFFSET(molt_vcpu_shared, state),
	OFFSET(molt_vcpu_shared, error),
	SIZE(molt_ram_target),
	SIZE(molt_channel),
	OFFSET(molt_channel, cancel),
	OFFSET(molt_channel, offset),
	SIZE(molt_page_transfer),
	OFFSET(molt_page_transfer, end),
	OFFSET(molt_page_transfer, fd),
	OFFSET(molt_page_transfer, cancelled),
	OFFSET(molt_page_transfer, next),
	OFFSET(molt_page_transfer, error_page),
	SIZE(molt_wait_result),
	SIZE(molt_wait_event),
	SIZE(termios),
	SIZE(stat),
	OFFSET(stat, st_mode),
	OFFSET(stat, st_size),
	OFFSET(stat, st_ino),
	OFFSET(stat, st_blocks),
	OFFSET(stat, st_rdev),
};

/*
 * The value the compiler gives for `name`: "sizeof TYPE" or "TYPE.MEMBER" (its offset).
 * -ENOENT for a name that is not in the table.
 */
MOLT_EXPORT int32_t molt_abi(const char *name)
{
	for (size_t i = 0; i < sizeof abi / sizeof abi[0]; i++)
		if (strcmp(abi[i].name, name) == 0)
			return abi[i].value;
	return -ENOENT;
}
