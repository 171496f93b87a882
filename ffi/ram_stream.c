/* Guest pages as records of a migration stream's `ram` section (ram_record.h). */
#include "molt.h"

#include <endian.h>
#include <string.h>

#include "channel.h"
#include "pages.h"
#include "ram_record.h"
#include "thread_functions.h"

#define BATCH 256
#define HEADER 8

/* What is going to be written together. */
struct batch {
	struct iovec vectors[2 * BATCH];
	uint32_t count;
	uint8_t bytes[BATCH * (HEADER + 1) + 256]; /* headers, and the name of a block */
	size_t used;
	uint64_t total;
};

/* Adds bytes that lie in batch->bytes; merges them with what is before. */
static void add_header(struct batch *batch, size_t length)
{
	uint8_t *start = batch->bytes + batch->used;
	struct iovec *last = batch->count > 0 ? &batch->vectors[batch->count - 1] : NULL;

	if (last && (uint8_t *)last->iov_base + last->iov_len == start)
		last->iov_len += length;
	else
		batch->vectors[batch->count++] = (struct iovec){ start, length };
	batch->used += length;
	batch->total += length;
}

static int32_t write_batch(struct batch *batch, struct molt_channel *channel)
{
	int32_t error = molt_channel_writev(channel, batch->vectors, batch->count);

	batch->count = 0;
	batch->used = 0;
	return error;
}

/*
 * Sends the pages of [first, end) that are set in `bitmap`, of the block at `memory`. `maybe` is 0, or
 * a bitmap in which pages are clear that are known to be zero; others are looked at if `detect` is 1.
 * `name` is the block's name with its length before it, for the first record, or NULL if that
 * continues. counts[0] and counts[1] become the numbers of pages with content and of zero pages.
 * Returns the number of bytes sent, or -errno.
 */
int64_t molt_ram_send(struct molt_channel *channel, uint8_t *memory,
				  const uint64_t *bitmap, const uint64_t *maybe, uint64_t first,
				  uint64_t end, uint32_t detect, const uint8_t *name,
				  uint64_t *counts)
{
	struct batch batch;
	int32_t error = 0;

	batch.count = 0;
	batch.used = 0;
	batch.total = 0;
	counts[0] = counts[1] = 0;
	for (uint64_t page = molt_next_set(bitmap, first, end); page < end && !error;
	     page = molt_next_set(bitmap, page + 1, end)) {
		uint8_t *content = memory + (page << MOLT_PAGE_SHIFT);
		bool zero = (maybe && !molt_bit(maybe, page)) ||
			    (detect && molt_page_is_zero(content));
		uint64_t header = htobe64(page << MOLT_PAGE_SHIFT | (zero ? RAM_ZERO : RAM_PAGE) |
					  (name ? 0 : RAM_CONTINUE));
		uint8_t *at = batch.bytes + batch.used;
		size_t length = HEADER;

		memcpy(at, &header, HEADER);
		if (name) {
			memcpy(at + length, name, 1u + *name);
			length += 1u + *name;
			name = NULL;
		}
		if (zero)
			at[length++] = 0;
		add_header(&batch, length);
		if (!zero) {
			batch.vectors[batch.count++] = (struct iovec){ content, MOLT_PAGE_SIZE };
			batch.total += MOLT_PAGE_SIZE;
		}
		counts[zero]++;
		if (batch.count > 2 * BATCH - 2 ||
		    batch.used > sizeof batch.bytes - (HEADER + 1) - 256)
			error = write_batch(&batch, channel);
	}
	if (!error)
		error = write_batch(&batch, channel);
	return error ? error : (int64_t)batch.total;
}
