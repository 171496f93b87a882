/* Differences between a page and its former content (xbzrle.h). */
#include "molt.h"

#include <string.h>

#include "pages.h"
#include "xbzrle.h"

/* The length of a run at *from, which moves behind it; -1 if it makes no sense. */
static int32_t run_length(const uint8_t *encoded, uint32_t length, uint32_t *from)
{
	uint32_t at = *from;

	if (at >= length)
		return -1;
	if (encoded[at] < 0x80) {
		*from = at + 1;
		return encoded[at];
	}
	if (at + 1 >= length || encoded[at + 1] >= 0x80)
		return -1;
	*from = at + 2;
	return (encoded[at] & 0x7f) | encoded[at + 1] << 7;
}

/* Goes through all runs, and copies new bytes to `page` unless it is NULL. */
static int32_t walk(uint8_t *page, const uint8_t *encoded, uint32_t length)
{
	uint32_t from = 0, to = 0;

	while (from < length) {
		uint32_t first = from == 0;
		int32_t unchanged = run_length(encoded, length, &from);
		int32_t changed = unchanged < 0 ? -1 : run_length(encoded, length, &from);

		if (changed <= 0 || (unchanged == 0 && !first) || (uint32_t)changed > length - from ||
		    to + (uint32_t)unchanged + (uint32_t)changed > MOLT_PAGE_SIZE)
			return (int32_t)from;
		to += (uint32_t)unchanged;
		if (page)
			memcpy(page + to, encoded + from, (size_t)changed);
		from += (uint32_t)changed;
		to += (uint32_t)changed;
	}
	return -1;
}

MOLT_EXPORT int32_t molt_xbzrle_apply(uint8_t *page, const uint8_t *encoded, uint32_t length)
{
	int32_t bad = walk(NULL, encoded, length);

	if (page && bad < 0)
		walk(page, encoded, length);
	return bad;
}
