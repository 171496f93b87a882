#ifndef MOLT_MAPPED_RAM_H
#define MOLT_MAPPED_RAM_H

#include <stdint.h>

enum { MOLT_PAGES_SAVE = 0, MOLT_PAGES_LOAD = 1 };

/*
 * A range of a block's pages on its way to or from a file (ffi/mapped_ram.c). TypeScript fills it in and
 * reads the progress while threads work on it. Bitmaps are as in pages.h; each chunk has whole words of
 * them, so that threads never share one.
 */
struct molt_page_transfer {
	uint64_t memory;     /* address of the block's page 0 */
	int64_t file_offset; /* of page 0 in the file */
	/* Save: the pages to look at. Load: the pages whose memory may hold something. */
	uint64_t selected;
	/* Which pages the file has: save records it, load follows it. */
	uint64_t stored;
	/* Save: selected pages whose bit is clear here count as zero unseen. 0: there are none. */
	uint64_t written;
	uint64_t end;   /* first page that is not part of the range */
	uint64_t chunk; /* pages that a thread takes at once: a multiple of 64 */
	int32_t fd;
	int32_t direction;
	int32_t direct_fd;   /* the same file with O_DIRECT; -1: none */
	int32_t direct_from; /* pages of the shortest run that goes there; 1: all, and that must work */
	int32_t detect_zero; /* save: leave zero pages out */

	int32_t cancelled; /* set by TypeScript: threads stop after the run at hand */
	uint64_t next;     /* first page that no thread has taken: to be set to the range's first */
	uint64_t moved;    /* pages written or read */
	uint64_t zero;     /* selected pages that were zero (save) */
	int32_t error;     /* errno of the first failure; ENODATA: the file ended */
	uint64_t error_page;
};

#endif
