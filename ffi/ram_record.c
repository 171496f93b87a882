/* The one parser of page records (ram_record.h): for streams that are loaded and those that are read. */
#include "molt.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#include "ram_record.h"
#include "xbzrle.h"

/* The target whose name, with its length before it, is at `name`; `count` if there is none. */
static uint32_t find(const struct molt_ram_target *targets, uint32_t count, const uint8_t *name)
{
	uint32_t i = 0;

	while (i < count && memcmp(targets[i].name, name, 1u + *name) != 0)
		i++;
	return i;
}

/* Takes the next `size` bytes as the record's content. False if they are not all there. */
static bool take(struct molt_ram_record *record, uint64_t end, uint32_t size)
{
	record->data = record->end;
	record->size = size;
	if (end - record->end < size)
		return false;
	record->end += size;
	return true;
}

static enum molt_ram_outcome read_difference(const uint8_t *bytes, uint64_t end,
					     struct molt_ram_record *record)
{
	uint16_t length;

	if (!take(record, end, 1))
		return MOLT_RECORD_INCOMPLETE;
	if (bytes[record->data] != 1)
		return MOLT_RECORD_BAD_ENCODING;
	if (!take(record, end, sizeof length))
		return MOLT_RECORD_INCOMPLETE;
	memcpy(&length, bytes + record->data, sizeof length);
	record->size = be16toh(length);
	if (record->size > MOLT_PAGE_SIZE)
		return MOLT_RECORD_BAD_LENGTH;
	if (!take(record, end, record->size))
		return MOLT_RECORD_INCOMPLETE;

	int32_t bad = molt_xbzrle_apply(NULL, bytes + record->data, record->size);

	if (bad < 0)
		return MOLT_RECORD_COMPLETE;
	record->data += (uint32_t)bad;
	return MOLT_RECORD_BAD_DIFFERENCE;
}

enum molt_ram_outcome molt_ram_record_read(const uint8_t *bytes, uint64_t start, uint64_t end,
					   const struct molt_ram_target *targets, uint32_t count,
					   uint32_t current, struct molt_ram_record *record)
{
	uint64_t header;

	record->end = start;
	if (!take(record, end, sizeof header))
		return MOLT_RECORD_INCOMPLETE;
	memcpy(&header, bytes + start, sizeof header);
	header = be64toh(header);
	record->offset = header & ~(uint64_t)RAM_FLAGS;
	record->kind = header & RAM_FLAGS & ~(uint32_t)RAM_CONTINUE;
	record->block = current;
	if (record->kind != RAM_PAGE && record->kind != RAM_ZERO && record->kind != RAM_XBZRLE)
		return MOLT_RECORD_OTHER;
	if (!(header & RAM_CONTINUE)) {
		uint64_t name = record->end;

		if (!take(record, end, 1) || !take(record, end, bytes[name]))
			return MOLT_RECORD_INCOMPLETE;
		record->data = name;
		record->block = find(targets, count, bytes + name);
		if (record->block == count)
			return MOLT_RECORD_UNKNOWN_BLOCK;
	}
	if (record->block >= count)
		return MOLT_RECORD_NO_BLOCK;
	if (record->offset >= targets[record->block].length)
		return MOLT_RECORD_BAD_OFFSET;
	if (record->kind == RAM_XBZRLE)
		return read_difference(bytes, end, record);
	if (!take(record, end, record->kind == RAM_PAGE ? MOLT_PAGE_SIZE : 1))
		return MOLT_RECORD_INCOMPLETE;
	return record->kind == RAM_ZERO && bytes[record->data] != 0 ? MOLT_RECORD_BAD_FILL :
								      MOLT_RECORD_COMPLETE;
}

/* molt_ram_record_read for somebody who looks at one record after the other. */
MOLT_EXPORT uint32_t molt_ram_record(const uint8_t *bytes, uint64_t start, uint64_t end,
				     const struct molt_ram_target *targets, uint32_t count,
				     uint32_t current, struct molt_ram_record *record)
{
	return molt_ram_record_read(bytes, start, end, targets, count, current, record);
}
