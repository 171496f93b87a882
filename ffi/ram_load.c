/* Pages of a migration stream, put into guest memory (the other side of ram_stream.c). */
#include "molt.h"

#include <stdatomic.h>
#include <string.h>

#include "channel.h"
#include "pages.h"
#include "ram_load.h"
#include "thread_functions.h"
#include "xbzrle.h"

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

static void apply(const uint8_t *bytes, const struct molt_ram_record *record,
		  const struct molt_ram_target *target)
{
	uint64_t page = record->offset >> MOLT_PAGE_SHIFT;
	uint8_t *memory = (uint8_t *)(uintptr_t)target->memory + record->offset;

	switch (record->kind) {
	case RAM_PAGE:
		memcpy(memory, bytes + record->data, MOLT_PAGE_SIZE);
		molt_target_note_written(target, page);
		break;
	case RAM_XBZRLE:
		molt_xbzrle_apply(memory, bytes + record->data, record->size);
		molt_target_note_written(target, page);
		break;
	default:
		molt_target_clear(target, page);
		break;
	}
}

/*
 * Applies the records of pages at hand, up to the first that is something else or makes no sense. Returns
 * 1 if more bytes may bring more of them, 0 if they do not.
 */
MOLT_EXPORT int32_t molt_ram_load(const uint8_t *bytes, struct molt_ram_buffer *buffer,
				  const struct molt_ram_target *targets, uint32_t count)
{
	struct molt_ram_record record;
	enum molt_ram_outcome outcome;

	for (;;) {
		outcome = molt_ram_record_read(bytes, buffer->start, buffer->end, targets, count,
					       buffer->current, &record);
		if (outcome != MOLT_RECORD_COMPLETE)
			return outcome == MOLT_RECORD_INCOMPLETE;
		apply(bytes, &record, &targets[record.block]);
		buffer->current = record.block;
		buffer->consumed += record.end - buffer->start;
		buffer->start = record.end;
	}
}

/*
 * Applies records of pages as they come on the channel, until something else comes or the stream ends.
 * `bytes` has room for `size` bytes, a few records at least. Returns 0 or -errno.
 */
int32_t molt_ram_receive(struct molt_channel *channel, uint8_t *bytes, uint64_t size,
			 struct molt_ram_buffer *buffer, const struct molt_ram_target *targets,
			 uint32_t count)
{
	while (molt_ram_load(bytes, buffer, targets, count)) {
		if (size - buffer->end < MOLT_RECORD_MAXIMUM || buffer->start == buffer->end) {
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
	return 0;
}
