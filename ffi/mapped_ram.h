#ifndef MOLT_MAPPED_RAM_H
#define MOLT_MAPPED_RAM_H

#include <stdint.h>

enum { MOLT_PAGES_SAVE = 0, MOLT_PAGES_LOAD = 1 };

/*
 * A range of a block's pages on its way to or from a file (ffi/mapped_ram.c). TypeScript fills it in and
 * reads the progress. Bitmaps are as in pages.h; ranges that are moved at the same time share no word of
 * them.
 */
struct molt_page_transfer {
	uint64_t memory;     /* address of the block's page 0 */
	int64_t file_offset; /* of page 0 in the file */
	/* Save: the pages to look at. Load: the pages whose memory may hold something. */
	uint64_t selected;
	/* Which pages the file has: save notes it, load follows it. */
	uint64_t stored;
	/* Save: selected pages whose bit is clear here count as zero unseen. 0: there are none. */
	uint64_t written;
	uint64_t first; /* the range: a multiple of 64 */
	uint64_t end;   /* first page that is not part of it */
	int32_t fd;
	int32_t direction;
	int32_t direct_fd;   /* the same file with O_DIRECT; -1: none */
	int32_t direct_from; /* pages of the shortest run that goes there; 1: all, and that must work */
	int32_t detect_zero; /* save: leave zero pages out */

	int32_t cancelled;   /* set by TypeScript at any time: it ends after the run at hand */
	uint64_t moved;      /* pages written or read */
	uint64_t zero;       /* selected pages that were zero (save) */
	uint64_t error_page; /* the page that could not be moved */
};

#endif
