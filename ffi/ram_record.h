#ifndef MOLT_RAM_RECORD_H
#define MOLT_RAM_RECORD_H

#include <stdint.h>

#include "pages.h"

/*
 * Records of pages in the `ram` section of a migration stream (QEMU's migration/ram.c):
 *
 *     u64  big-endian: the page's offset in its block, flags in the low 12 bits
 *     u8 length, name of the block: unless the record continues the block of the one before
 *     PAGE: the page's 4096 bytes
 *     ZERO: a byte 0
 *     XBZRLE: u8 encoding (1), u16 big-endian length, the difference (xbzrle.h)
 */
enum {
	RAM_ZERO = 0x002,
	RAM_PAGE = 0x008,
	RAM_CONTINUE = 0x020,
	RAM_XBZRLE = 0x040,
	RAM_FLAGS = 0xfff,
};

/* Bytes that the longest record of a page has. */
#define MOLT_RECORD_MAXIMUM (8 + 256 + 3 + MOLT_PAGE_SIZE)

/* A block that pages of a stream belong to. */
struct molt_ram_target {
	uint64_t memory; /* address of its first byte; 0: the stream is only looked at */
	uint64_t length; /* bytes in use */
	uint64_t written; /* page bitmap: pages that may hold something else than zeros; 0 as above */
	uint8_t name[256]; /* length, then that many bytes */
};

/* What is at the beginning of some bytes. src/native/ram_load.ts has the same list. */
enum molt_ram_outcome {
	MOLT_RECORD_COMPLETE = 0,
	MOLT_RECORD_INCOMPLETE, /* it needs the `size` bytes from `data` on */
	MOLT_RECORD_OTHER, /* it is not a record of a page */
	MOLT_RECORD_NO_BLOCK, /* it continues, but there was none before */
	MOLT_RECORD_UNKNOWN_BLOCK, /* its name, with its length before it, is at `data` */
	MOLT_RECORD_BAD_OFFSET, /* `offset` is not in `block` */
	MOLT_RECORD_BAD_FILL, /* a zero page of another byte than 0, which is at `data` */
	MOLT_RECORD_BAD_ENCODING, /* XBZRLE with another encoding than 1, which is at `data` */
	MOLT_RECORD_BAD_LENGTH, /* XBZRLE with `size` bytes, more than a page */
	MOLT_RECORD_BAD_DIFFERENCE, /* XBZRLE whose bytes make no sense from `data` on */
};

/* A record of a page. src/native/ram_load.ts reads it. */
struct molt_ram_record {
	uint64_t offset; /* of the page in its block */
	uint64_t data; /* index of the content */
	uint64_t end; /* index behind the record */
	uint32_t kind; /* RAM_PAGE, RAM_ZERO or RAM_XBZRLE */
	uint32_t block; /* index in the table of blocks */
	uint32_t size; /* bytes of the content */
};

/*
 * Reads the record at index `start` of `bytes`, of which `end` are there. `current` is the index of the
 * block of the record before; `count` if there is none. Unless the record is complete, `record` has what
 * its enum molt_ram_outcome says and nothing else.
 */
enum molt_ram_outcome molt_ram_record_read(const uint8_t *bytes, uint64_t start, uint64_t end,
					   const struct molt_ram_target *targets, uint32_t count,
					   uint32_t current, struct molt_ram_record *record);

#endif
