/*
 * Pages between guest memory and their fixed places in a file (mapped-ram).
 *
 * TypeScript describes a range of a block in a struct molt_page_transfer, which one thread moves; several
 * ranges may be moved at the same time. Runs of pages move by one pwrite or pread straight from or to guest
 * memory, and past the page cache where a descriptor for that is given.
 */
#include "molt.h"

#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "mapped_ram.h"
#include "pages.h"
#include "thread_functions.h"

/* Pages that are looked at together. Larger writes let the host's page cache use larger folios. */
#define CHUNK 1024

static bool cancelled(const struct molt_page_transfer *transfer)
{
	return __atomic_load_n(&transfer->cancelled, __ATOMIC_RELAXED);
}

static uint8_t *page_at(const struct molt_page_transfer *transfer, uint64_t page)
{
	return (uint8_t *)(uintptr_t)transfer->memory + (page << MOLT_PAGE_SHIFT);
}

/* True if the page cache is left out wherever possible, because somebody asked for it. */
static bool must_be_direct(const struct molt_page_transfer *transfer)
{
	return transfer->direct_fd >= 0 && transfer->direct_from == 1;
}

/*
 * Reads what there is in the page cache, and the rest without leaving it there: the guest has it then,
 * and nobody reads it again.
 */
static ssize_t read_pages(const struct molt_page_transfer *transfer, void *memory, size_t length,
			  int64_t offset)
{
	struct iovec vector = { memory, length };
	ssize_t cached = -1;

	if (transfer->direct_fd < 0)
		return pread(transfer->fd, memory, length, offset);
	if (!must_be_direct(transfer))
		cached = preadv2(transfer->fd, &vector, 1, offset, RWF_NOWAIT);
	if (cached >= MOLT_PAGE_SIZE)
		return cached;

	ssize_t read = pread(transfer->direct_fd, memory, length, offset);

	return read < 0 && errno == EINVAL && !must_be_direct(transfer) ?
		       pread(transfer->fd, memory, length, offset) :
		       read;
}

/*
 * Writes long runs past the page cache: the migration waits for the disk anyway. Short ones are better
 * collected there.
 */
static ssize_t write_pages(const struct molt_page_transfer *transfer, const void *memory, size_t length,
			   int64_t offset)
{
	if (transfer->direct_fd >= 0 && length >> MOLT_PAGE_SHIFT >= (size_t)transfer->direct_from) {
		ssize_t written = pwrite(transfer->direct_fd, memory, length, offset);

		if (written >= 0 || errno != EINVAL || must_be_direct(transfer))
			return written;
	}
	return pwrite(transfer->fd, memory, length, offset);
}

/* Moves the pages [first, end) between memory and file. Returns 0 or -errno; -ENODATA: the file ends. */
static int32_t move_run(struct molt_page_transfer *transfer, uint64_t first, uint64_t end)
{
	uint8_t *memory = page_at(transfer, first);
	int64_t offset = transfer->file_offset + (int64_t)(first << MOLT_PAGE_SHIFT);
	size_t length = (end - first) << MOLT_PAGE_SHIFT;
	bool save = transfer->direction == MOLT_PAGES_SAVE;
	size_t done = 0;

	while (done < length) {
		ssize_t moved = (save ? write_pages(transfer, memory + done, length - done,
						    offset + (int64_t)done) :
					read_pages(transfer, memory + done, length - done,
						   offset + (int64_t)done));
		int32_t error = moved < 0 ? errno : 0;

		/* A part of a page is moved again: O_DIRECT goes on at multiples of the block size only. */
		if (moved >= 0 && moved < MOLT_PAGE_SIZE)
			error = save ? ENOSPC : ENODATA;
		if (error == EINTR)
			continue;
		if (error) {
			transfer->error_page = first + (done >> MOLT_PAGE_SHIFT);
			return -error;
		}
		done += (size_t)moved & ~(size_t)(MOLT_PAGE_SIZE - 1);
	}
	transfer->moved += end - first;
	return 0;
}

/* The first page of [first, end) that does not count as zero unseen. */
static uint64_t next_written(const struct molt_page_transfer *transfer, uint64_t first, uint64_t end)
{
	const uint64_t *written = (const uint64_t *)(uintptr_t)transfer->written;

	return written ? molt_next_set(written, first, end) : first;
}

/* The end of the run of pages from `first` on that are worth writing. */
static uint64_t content_end(const struct molt_page_transfer *transfer, uint64_t first, uint64_t end)
{
	const uint64_t *written = (const uint64_t *)(uintptr_t)transfer->written;

	if (written)
		end = molt_next_clear(written, first, end);
	if (!transfer->detect_zero)
		return end;
	while (first < end && !molt_page_is_zero(page_at(transfer, first)))
		first++;
	return first;
}

/* Writes the selected pages of [first, end) that are not zero, and notes for all whether they are. */
static int32_t save_chunk(struct molt_page_transfer *transfer, uint64_t first, uint64_t end)
{
	const uint64_t *selected = (const uint64_t *)(uintptr_t)transfer->selected;
	uint64_t *stored = (uint64_t *)(uintptr_t)transfer->stored;
	uint64_t page = molt_next_set(selected, first, end);
	int32_t error = 0;

	while (page < end && !error) {
		uint64_t limit = molt_next_clear(selected, page, end);
		uint64_t run = next_written(transfer, page, limit);

		molt_bitmap_fill(stored, page, run, 0);
		transfer->zero += run - page;
		page = content_end(transfer, run, limit);
		molt_bitmap_fill(stored, run, page, 1);
		if (page > run)
			error = move_run(transfer, run, page);
		if (run < limit && page == run) {
			molt_clear_bit(stored, page++);
			transfer->zero++;
		}
		page = molt_next_set(selected, page, end);
	}
	return error;
}

/* Reads the stored pages of [first, end), and clears those others that are selected. */
static int32_t load_chunk(struct molt_page_transfer *transfer, uint64_t first, uint64_t end)
{
	const uint64_t *selected = (const uint64_t *)(uintptr_t)transfer->selected;
	const uint64_t *stored = (const uint64_t *)(uintptr_t)transfer->stored;
	uint64_t page = first;
	int32_t error = 0;

	while (page < end && !error) {
		uint64_t run = molt_next_set(stored, page, end);
		uint64_t after = molt_next_clear(stored, run, end);

		for (page = molt_next_set(selected, page, run); page < run;
		     page = molt_next_set(selected, page + 1, run))
			if (!molt_page_is_zero(page_at(transfer, page)))
				memset(page_at(transfer, page), 0, MOLT_PAGE_SIZE);
		if (after > run)
			error = move_run(transfer, run, after);
		page = after;
	}
	return error;
}

/*
 * Moves the range. Returns 0, -ECANCELED, or the negative errno of the first failure, whose page is then in
 * `error_page`.
 */
int32_t molt_pages_transfer(struct molt_page_transfer *transfer)
{
	int32_t error = 0;

	for (uint64_t first = transfer->first; first < transfer->end && !error; first += CHUNK) {
		uint64_t end = transfer->end - first > CHUNK ? first + CHUNK : transfer->end;

		if (cancelled(transfer))
			error = -ECANCELED;
		else if (transfer->direction == MOLT_PAGES_SAVE)
			error = save_chunk(transfer, first, end);
		else
			error = load_chunk(transfer, first, end);
	}
	return error;
}
