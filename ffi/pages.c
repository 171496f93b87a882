/*
 * Page bitmaps, and which pages of guest memory are zero: by looking at them, or, for memory that
 * nobody has written yet, without touching them (a read would allocate a page of a memfd).
 */
#include "molt.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#include "pages.h"
#include "thread_functions.h"

/* The bits of word `word` that lie in [first, end). */
static uint64_t mask_of(uint64_t word, uint64_t first, uint64_t end)
{
	uint64_t mask = UINT64_MAX;

	if (word == first >> 6)
		mask <<= first & 63;
	if (word == end >> 6)
		mask &= (UINT64_C(1) << (end & 63)) - 1;
	return mask;
}

static uint64_t words_end(uint64_t end)
{
	return (end + 63) >> 6;
}

uint64_t molt_next_set(const uint64_t *bitmap, uint64_t first, uint64_t end)
{
	for (uint64_t word = first >> 6; first < end && word < words_end(end); word++) {
		uint64_t bits = bitmap[word] & mask_of(word, first, end);

		if (bits)
			return (word << 6) + (uint64_t)__builtin_ctzll(bits);
	}
	return end;
}

uint64_t molt_next_clear(const uint64_t *bitmap, uint64_t first, uint64_t end)
{
	for (uint64_t word = first >> 6; first < end && word < words_end(end); word++) {
		uint64_t bits = ~bitmap[word] & mask_of(word, first, end);

		if (bits)
			return (word << 6) + (uint64_t)__builtin_ctzll(bits);
	}
	return end;
}

/* How many pages of [first, end) are set. */
MOLT_EXPORT uint64_t molt_bitmap_count(const uint64_t *bitmap, uint64_t first, uint64_t end)
{
	uint64_t count = 0;

	for (uint64_t word = first >> 6; first < end && word < words_end(end); word++)
		count += (uint64_t)__builtin_popcountll(bitmap[word] & mask_of(word, first, end));
	return count;
}

/* The first page of [first, end) whose bit is `value` (0 or 1); `end` if there is none. */
MOLT_EXPORT uint64_t molt_bitmap_next(const uint64_t *bitmap, uint64_t first, uint64_t end,
				      uint32_t value)
{
	return value ? molt_next_set(bitmap, first, end) : molt_next_clear(bitmap, first, end);
}

/* Where the range ends that begins at `first` and has `count` set pages: `end` if it has fewer. */
MOLT_EXPORT uint64_t molt_bitmap_advance(const uint64_t *bitmap, uint64_t first, uint64_t end,
					 uint64_t count)
{
	for (uint64_t word = first >> 6; first < end && word < words_end(end); word++) {
		uint64_t bits = bitmap[word] & mask_of(word, first, end);
		uint64_t here = (uint64_t)__builtin_popcountll(bits);

		if (here < count) {
			count -= here;
			continue;
		}
		for (; count > 1; count--)
			bits &= bits - 1;
		return bits ? (word << 6) + (uint64_t)__builtin_ctzll(bits) + 1 : first;
	}
	return end;
}

/* Sets or clears all pages of [first, end). */
MOLT_EXPORT void molt_bitmap_fill(uint64_t *bitmap, uint64_t first, uint64_t end, uint32_t value)
{
	for (uint64_t word = first >> 6; first < end && word < words_end(end); word++) {
		uint64_t mask = mask_of(word, first, end);

		bitmap[word] = value ? bitmap[word] | mask : bitmap[word] & ~mask;
	}
}

/*
 * Stores the runs of set pages in [first, end) as pairs of first page and page count, at most
 * `room` of them, and returns how many those are. A run ends after `longest` pages at the latest.
 */
MOLT_EXPORT uint32_t molt_bitmap_runs(const uint64_t *bitmap, uint64_t first, uint64_t end,
				      uint64_t longest, uint64_t *runs, uint32_t room)
{
	uint32_t count = 0;

	while (count < room && (first = molt_next_set(bitmap, first, end)) < end) {
		uint64_t limit = end - first > longest ? first + longest : end;
		uint64_t after = molt_next_clear(bitmap, first, limit);

		runs[2 * count] = first;
		runs[2 * count + 1] = after - first;
		count++;
		first = after;
	}
	return count;
}

/*
 * Moves the pages of [first, end) from `source`, whose bits other threads set atomically at any time,
 * to `target`. `first` and `end` are multiples of 64 or the last page.
 */
MOLT_EXPORT void molt_bitmap_take(uint64_t *source, uint64_t *target, uint64_t first, uint64_t end)
{
	for (uint64_t word = first >> 6; first < end && word < words_end(end); word++) {
		_Atomic uint64_t *bits = (_Atomic uint64_t *)&source[word];

		if (atomic_load_explicit(bits, memory_order_relaxed))
			target[word] |= atomic_exchange(bits, 0);
	}
}

bool molt_page_is_zero(const void *page)
{
	const uint64_t *words = page;

	if (words[0] | words[MOLT_PAGE_SIZE / 16] | words[MOLT_PAGE_SIZE / 8 - 1])
		return false;
	for (size_t i = 0; i < MOLT_PAGE_SIZE / 8; i += 32) {
		uint64_t any = 0;

		for (size_t j = 0; j < 32; j++)
			any |= words[i + j];
		if (any)
			return false;
	}
	return true;
}

/* Clears the bits of the pages in [first, end) that are zero; reads only pages whose bit is set. */
void molt_drop_zero_pages(uint64_t memory, uint64_t *bitmap, uint64_t first,
				      uint64_t end)
{
	const uint8_t *pages = (const uint8_t *)(uintptr_t)memory;

	for (uint64_t page = molt_next_set(bitmap, first, end); page < end;
	     page = molt_next_set(bitmap, page + 1, end))
		if (molt_page_is_zero(pages + (page << MOLT_PAGE_SHIFT)))
			molt_clear_bit(bitmap, page);
}

/*
 * Clears the bits of the pages in [first, end) that lie in holes of the file `fd`, whose byte `offset`
 * is page 0. For memory that is a shared mapping of the file. A file system that does not distinguish holes
 * has none. Returns the first page from `end` on that may lie in a hole: the file is not asked for its
 * next hole again before that, which takes time for every page up to there.
 */
int64_t molt_drop_file_holes(int32_t fd, int64_t offset, uint64_t *bitmap,
					 uint64_t first, uint64_t end)
{
	while (first < end) {
		off_t from = (off_t)(first << MOLT_PAGE_SHIFT) + offset;
		off_t data = lseek(fd, from, SEEK_DATA);

		if (data < 0 && errno != ENXIO)
			return errno == EINVAL ? (int64_t)end : -errno;

		uint64_t page = data < 0 ? end : (uint64_t)(data - offset) >> MOLT_PAGE_SHIFT;

		if (page > end)
			page = end;
		molt_bitmap_fill(bitmap, first, page, 0);
		if (page == end)
			return (int64_t)end;

		off_t hole = lseek(fd, data, SEEK_HOLE);

		if (hole < 0)
			return -errno;
		first = (uint64_t)(hole - offset + MOLT_PAGE_SIZE - 1) >> MOLT_PAGE_SHIFT;
	}
	return (int64_t)first;
}

/* Entries of /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst). */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_SWAPPED (UINT64_C(1) << 62)

/*
 * Clears the bits of the pages in [first, end) of private anonymous memory that were never touched.
 * Without /proc all count as touched.
 */
int32_t molt_drop_untouched(uint64_t memory, uint64_t *bitmap, uint64_t first,
					uint64_t end)
{
	uint64_t entries[512];
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	while (first < end) {
		uint64_t count = end - first < 512 ? end - first : 512;
		off_t at = (off_t)(((memory >> MOLT_PAGE_SHIFT) + first) * sizeof entries[0]);
		ssize_t got = pread(fd, entries, count * sizeof entries[0], at);

		if (got <= 0) {
			int32_t error = got < 0 ? -errno : -EIO;

			close(fd);
			return error;
		}
		count = (uint64_t)got / sizeof entries[0];
		for (uint64_t i = 0; i < count; i++)
			if (!(entries[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)))
				molt_clear_bit(bitmap, first + i);
		first += count;
	}
	close(fd);
	return 0;
}
