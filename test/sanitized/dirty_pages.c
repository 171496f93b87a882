/*
 * A guest writes pages while they are collected, from KVM's dirty log and from its dirty rings: a page that
 * was collected and is written again is collected again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "support/entry_points.h"
#include "support/kvm_guest.h"
#include "support/late_calls.h"
#include "support/pool.h"
#include "support/program.h"

#define PAGES (GUEST_MEMORY / 4096)
#define RING_ENTRIES 1024
/* Pages that the guest writes: 16 from this one on. */
#define FIRST 32
#define WRITTEN 16

/*
 * Writes a counter to each of 16 pages from 0x20000 on, again and again, and to a port after each turn:
 *
 *     mov $0x2000, %ax; mov %ax, %ds
 *  1: inc %dl; xor %di, %di
 *  2: mov %dl, (%di); add $0x1000, %di; jnz 2b; mov %dl, %al; out %al, $0x10; jmp 1b
 */
static const uint8_t writer[] = { 0xb8, 0x00, 0x20, 0x8e, 0xd8, 0xfe, 0xc2, 0x31, 0xff, 0x88, 0x15,
				  0x81, 0xc7, 0x00, 0x10, 0x75, 0xf8, 0x88, 0xd0, 0xe6, 0x10,
				  0xeb, 0xee };

static uint64_t bitmap[PAGES / 64], scratch[PAGES / 64];

/* Lets the guest go round once, at least, and parks it. */
static void write_pages(struct guest *guest, struct guest_vcpu *vcpu)
{
	uint8_t before = guest->memory[FIRST * 4096];

	molt_vcpu_resume(vcpu->handle);
	/* The second exit ends a turn that began after now. */
	for (int exit = 0; exit < 2; exit++) {
		guest_serve_until(guest, vcpu, MOLT_VCPU_EXITED);
		molt_vcpu_resume(vcpu->handle);
	}
	dither();
	molt_vcpu_kick(vcpu->handle);
	guest_serve_until(guest, vcpu, MOLT_VCPU_PARKED);
	check(guest->memory[FIRST * 4096] != before, "the guest wrote nothing");
}

static void check_collected(const char *how, uint32_t round)
{
	for (uint32_t page = FIRST; page < FIRST + WRITTEN; page++)
		check(bitmap[page / 64] >> (page % 64) & 1,
		      "round %u: page %u was written and is not in the %s", round, page, how);
	memset(bitmap, 0, sizeof bitmap);
}

static void from_log(uint32_t count)
{
	struct kvm_enable_cap protect = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
					  .args = { KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE } };
	struct guest guest;
	struct guest_vcpu vcpu;

	guest_create(&guest, &protect);
	guest_load(&guest, writer, sizeof writer);
	guest_add_vcpu(&guest, &vcpu, 0);
	guest_log_pages(&guest);
	for (uint32_t round = 0; round < count; round++) {
		write_pages(&guest, &vcpu);
		pool_call("molt_dirty_log_get", 0, (uint64_t)guest.vm, 0, PAGES,
			  pool_address(scratch), pool_address(bitmap), 0);
		check(pool_await().result == 0, "molt_dirty_log_get");
		/* In pieces that begin and end anywhere. */
		for (uint64_t from = 0, end; from < PAGES; from = end) {
			end = from + 1 + random_below(PAGES);
			if (end > PAGES)
				end = PAGES;
			pool_call("molt_dirty_log_clear", 0, (uint64_t)guest.vm, 0, PAGES, 0,
				  pool_address(bitmap), from, end);
			check(pool_await().result == 0, "molt_dirty_log_clear");
		}
		check_collected("dirty log", round);
	}
	molt_vcpu_destroy(vcpu.handle);
	guest_destroy(&guest);
}

static void from_rings(uint32_t count)
{
	struct kvm_enable_cap rings = { .cap = KVM_CAP_DIRTY_LOG_RING,
					.args = { RING_ENTRIES * sizeof(struct kvm_dirty_gfn) } };
	struct guest guest;
	struct guest_vcpu vcpu;

	guest_create(&guest, &rings);
	guest_load(&guest, writer, sizeof writer);
	guest_add_vcpu(&guest, &vcpu, 0);
	guest_log_pages(&guest);

	void *entries = mmap(NULL, RING_ENTRIES * sizeof(struct kvm_dirty_gfn),
			     PROT_READ | PROT_WRITE, MAP_SHARED, vcpu.fd,
			     KVM_DIRTY_LOG_PAGE_OFFSET * 4096);
	struct molt_dirty_ring ring = { (uint64_t)(uintptr_t)entries, RING_ENTRIES, 0 };
	struct molt_dirty_slot slot = { (uint64_t)(uintptr_t)bitmap, 0, PAGES };

	check(entries != MAP_FAILED, "the dirty ring cannot be mapped: %s", strerror(errno));
	for (uint32_t round = 0; round < count; round++) {
		write_pages(&guest, &vcpu);
		check(molt_dirty_rings_harvest(guest.vm, &ring, 1, &slot, 1) >= WRITTEN,
		      "round %u: too few entries", round);
		check_collected("dirty ring", round);
	}
	munmap(entries, RING_ENTRIES * sizeof(struct kvm_dirty_gfn));
	molt_vcpu_destroy(vcpu.handle);
	guest_destroy(&guest);
}

int main(int argc, char **argv)
{
	uint32_t count = rounds(argc, argv, 200);

	late_ioctl(KVM_RUN, 100);
	set_limit(60, "pages collected from the dirty log");
	from_log(count);
	set_limit(60, "pages collected from dirty rings");
	from_rings(count);
	printf("dirty_pages: %u rounds\n", count);
	return 0;
}
