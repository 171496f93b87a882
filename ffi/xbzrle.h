#ifndef MOLT_XBZRLE_H
#define MOLT_XBZRLE_H

#include <stdint.h>

/*
 * XBZRLE: a page as the difference to its former content. Pairs of runs, each with its length before it
 * (7 bits a byte, low ones first, at most two bytes): so many bytes unchanged, so many new bytes. What
 * comes after the last run is unchanged. Only the first run may be empty.
 *
 * Applies `encoded` to `page`, which may be NULL: then it is only looked at. Returns -1, or the index from
 * which on `encoded` makes no sense; the page is as it was then.
 */
int32_t molt_xbzrle_apply(uint8_t *page, const uint8_t *encoded, uint32_t length);

#endif
