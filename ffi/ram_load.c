/* Pages of a migration stream, put into guest memory (the other side of ram_stream.c). */
#include "molt.h"

#include <endian.h>
#include <stdatomic.h>
#include <string.h>

#include "channel.h"
#include "pages.h"
#include "ram_load.h"
#include "thread_functions.h"

enum {
	RAM_ZERO = 0x002,
	RAM_PAGE = 0x008,
	RAM_CONTINUE = 0x020,
	RAM_FLAGS = 0xfff,
};

static _Atomic uint64_t *word_of(const struct molt_ram_target *target, uint64_t page)
{
	return (_Atomic uint64_t *)(uintptr_t)target->written + (page >> 6);
}

void molt_target_note_written(const struct molt_ram_target *target, uint64_t page)
{
	_Atomic uint64_t *word = word_of(target, page);
	uint64_t bit = UINT64_C(1) << (page & 63);

	if (!(atomic_load_explicit(word, memory_order_relaxed) & bit))
		atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
}

void molt_target_clear(const struct molt_ram_target *target, uint64_t page)
{
	uint8_t *memory = (uint8_t *)(uintptr_t)target->memory + (page << MOLT_PAGE_SHIFT);
	uint64_t bits = atomic_load_explicit(word_of(target, page), memory_order_relaxed);

	if (bits >> (page & 63) & 1 && !molt_page_is_zero(memory))
		memset(memory, 0, MOLT_PAGE_SIZE);
}

/* The target whose name, with its length before it, is at `name`; `count` if there is none. */
static uint32_t find(const struct molt_ram_target *targets, uint32_t count, const uint8_t *name)
{
	uint32_t i = 0;

	while (i < count && memcmp(targets[i].name, name, 1u + *name) != 0)
		i++;
	return i;
}

/* Bytes that the longest record of a page has. */
#define RECORD_MAXIMUM (8 + 256 + MOLT_PAGE_SIZE)

/*
 * Applies the complete and valid records of pages and zero pages at the beginning of `bytes`, up to
 * the first that is something else, and returns how many bytes they are. *current is the index of the
 * block of the record before, and becomes that of the last one; `count` if there is none.
 */
MOLT_EXPORT uint64_t molt_ram_load(const uint8_t *bytes, uint64_t length,
				   const struct molt_ram_target *targets, uint32_t count,
				   uint32_t *current)
{
	uint64_t done = 0;

	while (length - done >= 8) {
		const uint8_t *record = bytes + done;
		uint64_t left = length - done, used = 8, header;
		uint32_t index = *current;

		memcpy(&header, record, 8);
		header = be64toh(header);
		if (!(header & RAM_CONTINUE)) {
			if (left < 9 || left < 9u + record[8])
				break;
			index = find(targets, count, record + 8);
			used = 9u + record[8];
		}
		if (index >= count || (header & ~(uint64_t)RAM_FLAGS) >= targets[index].length)
			break;

		uint64_t page = header >> MOLT_PAGE_SHIFT;
		uint64_t kind = header & RAM_FLAGS & ~(uint64_t)RAM_CONTINUE;

		if (kind == RAM_PAGE && left - used >= MOLT_PAGE_SIZE) {
			memcpy((uint8_t *)(uintptr_t)targets[index].memory +
				       (page << MOLT_PAGE_SHIFT),
			       record + used, MOLT_PAGE_SIZE);
			molt_target_note_written(&targets[index], page);
			used += MOLT_PAGE_SIZE;
		} else if (kind == RAM_ZERO && left > used && record[used] == 0) {
			molt_target_clear(&targets[index], page);
			used += 1;
		} else {
			break;
		}
		*current = index;
		done += used;
	}
	return done;
}

/* Whether more bytes may complete a record of a page at `bytes`. */
static bool may_be_page(const uint8_t *bytes, uint64_t length)
{
	uint64_t header;

	if (length < 8)
		return true;
	memcpy(&header, bytes, 8);
	header = be64toh(header) & RAM_FLAGS & ~(uint64_t)RAM_CONTINUE;
	return length < RECORD_MAXIMUM && (header == RAM_PAGE || header == RAM_ZERO);
}

/*
 * Applies records of pages as they come on the channel, until something else comes or the stream ends.
 * `bytes` has room for `size` bytes, a few records at least. Returns 0 or -errno.
 */
int32_t molt_ram_receive(struct molt_channel *channel, uint8_t *bytes, uint64_t size,
				     struct molt_ram_buffer *buffer,
				     const struct molt_ram_target *targets, uint32_t count)
{
	for (;;) {
		uint64_t done = molt_ram_load(bytes + buffer->start, buffer->end - buffer->start,
					      targets, count, &buffer->current);

		buffer->start += done;
		buffer->consumed += done;
		if (!may_be_page(bytes + buffer->start, buffer->end - buffer->start))
			return 0;
		if (size - buffer->end < RECORD_MAXIMUM || buffer->start == buffer->end) {
			memmove(bytes, bytes + buffer->start, buffer->end - buffer->start);
			buffer->end -= buffer->start;
			buffer->start = 0;
		}

		int64_t got = molt_channel_read_some(channel, bytes + buffer->end,
						     size - buffer->end);

		if (got < 0)
			return (int32_t)got;
		buffer->end += (uint64_t)got;
		if (got == 0) {
			buffer->ended = 1;
			return 0;
		}
	}
}
