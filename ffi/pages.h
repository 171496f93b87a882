#ifndef MOLT_PAGES_H
#define MOLT_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOLT_PAGE_SIZE 4096
#define MOLT_PAGE_SHIFT 12

/*
 * Page bitmaps: 64-bit words, bit i % 64 of word i / 64 stands for page i. That is the layout of
 * KVM's dirty log and of mapped-ram files. A bitmap has whole words: bits beyond the last page are 0.
 */

static inline bool molt_bit(const uint64_t *bitmap, uint64_t page)
{
	return bitmap[page >> 6] >> (page & 63) & 1;
}

static inline void molt_set_bit(uint64_t *bitmap, uint64_t page)
{
	bitmap[page >> 6] |= UINT64_C(1) << (page & 63);
}

static inline void molt_clear_bit(uint64_t *bitmap, uint64_t page)
{
	bitmap[page >> 6] &= ~(UINT64_C(1) << (page & 63));
}

/* The first page in [first, end) whose bit is set; `end` if there is none. */
uint64_t molt_next_set(const uint64_t *bitmap, uint64_t first, uint64_t end);

/* The first page in [first, end) whose bit is clear; `end` if there is none. */
uint64_t molt_next_clear(const uint64_t *bitmap, uint64_t first, uint64_t end);

/* Sets or clears all pages of [first, end). */
void molt_bitmap_fill(uint64_t *bitmap, uint64_t first, uint64_t end, uint32_t value);

/* True if the page's 4096 bytes are all zero. */
bool molt_page_is_zero(const void *page);

#endif
