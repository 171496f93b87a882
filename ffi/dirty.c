/*
 * Which pages the guest wrote, as KVM records it for each memory slot: the dirty log, or a ring for
 * each vCPU (Documentation/virt/kvm/api.rst: KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG,
 * KVM_CAP_DIRTY_LOG_RING). Collected pages go to the page bitmaps of RAM blocks.
 */
#include "molt.h"

#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "dirty.h"
#include "pages.h"
#include "thread_functions.h"

/* Sets the bits of `word` in `bitmap` from page `page` on. */
static void or_bits(uint64_t *bitmap, uint64_t page, uint64_t word)
{
	unsigned int shift = page & 63;

	bitmap[page >> 6] |= word << shift;
	if (shift && word >> (64 - shift))
		bitmap[(page >> 6) + 1] |= word >> (64 - shift);
}

/* 64 bits of `bitmap` from page `page` on; pages from `end` on count as clear. */
static uint64_t get_bits(const uint64_t *bitmap, uint64_t page, uint64_t end)
{
	unsigned int shift = page & 63;
	uint64_t word = bitmap[page >> 6] >> shift;

	if (shift && end > (page | 63) + 1)
		word |= bitmap[(page >> 6) + 1] << (64 - shift);
	if (end - page < 64)
		word &= (UINT64_C(1) << (end - page)) - 1;
	return word;
}

/*
 * Adds the dirty log of slot `slot` (`pages` pages, the first of which is `first` of its block) to
 * the block's bitmap. `scratch` is a bitmap of at least `pages` pages.
 */
int32_t molt_dirty_log_get(int32_t vm, uint32_t slot, uint64_t pages, uint64_t *scratch,
				       uint64_t *bitmap, uint64_t first)
{
	struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = scratch };

	if (ioctl(vm, KVM_GET_DIRTY_LOG, &log) < 0)
		return -errno;
	for (uint64_t page = 0; page < pages; page += 64)
		if (scratch[page >> 6])
			or_bits(bitmap, first + page, get_bits(scratch, page, pages));
	return 0;
}

/*
 * Has KVM forget, in slot `slot` (`pages` pages, the first of which is `first` of its block), the
 * pages of [from, end) that are set in the block's bitmap, and watch for the next write to them.
 */
int32_t molt_dirty_log_clear(int32_t vm, uint32_t slot, uint64_t pages, uint64_t first,
					 const uint64_t *bitmap, uint64_t from, uint64_t end)
{
	if (from < first)
		from = first;
	if (end > first + pages)
		end = first + pages;
	if (from >= end)
		return 0;

	/* The range must begin at a multiple of 64 pages and end at one or where the slot ends. */
	uint64_t start = (from - first) & ~UINT64_C(63);
	uint64_t stop = (end - first + 63) & ~UINT64_C(63);
	uint64_t *words = calloc((stop - start) >> 6, sizeof *words);
	struct kvm_clear_dirty_log log = { .slot = slot, .first_page = start,
					   .num_pages = molt_saturate(
						   (stop < pages ? stop : pages) - start),
					   .dirty_bitmap = words };
	int32_t error = 0;

	if (!words)
		return -ENOMEM;
	for (uint64_t page = from; page < end;) {
		uint64_t at = page - first;
		uint64_t count = 64 - (at & 63);
		uint64_t limit = end - page < count ? end : page + count;

		words[(at - start) >> 6] |= get_bits(bitmap, page, limit) << (at & 63);
		page = limit;
	}
	if (ioctl(vm, KVM_CLEAR_DIRTY_LOG, &log) < 0)
		error = -errno;
	free(words);
	return error;
}

/*
 * Sets the pages that the rings name in the slots' bitmaps, and has KVM use the entries again and
 * watch for the next write to those pages. Returns the number of entries or -errno.
 */
MOLT_EXPORT int32_t molt_dirty_rings_harvest(int32_t vm, struct molt_dirty_ring *rings,
					     uint32_t ring_count,
					     const struct molt_dirty_slot *slots,
					     uint32_t slot_count)
{
	int32_t harvested = 0;

	for (uint32_t i = 0; i < ring_count; i++) {
		struct kvm_dirty_gfn *entries = (void *)(uintptr_t)rings[i].entries;

		for (;; rings[i].next++, harvested++) {
			struct kvm_dirty_gfn *entry = &entries[rings[i].next & (rings[i].size - 1)];
			_Atomic uint32_t *flags = (_Atomic uint32_t *)&entry->flags;

			if (atomic_load_explicit(flags, memory_order_acquire) != KVM_DIRTY_GFN_F_DIRTY)
				break;
			if (entry->slot < slot_count && entry->offset < slots[entry->slot].pages)
				molt_set_bit((uint64_t *)(uintptr_t)slots[entry->slot].bitmap,
					     slots[entry->slot].first + entry->offset);
			atomic_store_explicit(flags, KVM_DIRTY_GFN_F_RESET, memory_order_release);
		}
	}
	if (harvested > 0 && ioctl(vm, KVM_RESET_DIRTY_RINGS, 0) < 0)
		return -errno;
	return harvested;
}
