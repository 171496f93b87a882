#ifndef MOLT_RAM_LOAD_H
#define MOLT_RAM_LOAD_H

#include <stdint.h>

/* A block that pages of a stream go to. */
struct molt_ram_target {
	uint64_t memory; /* address of its first byte */
	uint64_t length; /* bytes in use */
	uint64_t written; /* page bitmap: pages that may hold something else than zeros */
	uint8_t name[256]; /* length, then that many bytes */
};

/* A buffer between a channel and guest memory. */
struct molt_ram_buffer {
	uint64_t start; /* first byte that was not consumed */
	uint64_t end; /* behind the last byte that was read */
	uint64_t consumed; /* bytes consumed in all */
	uint32_t current; /* index of the block of the last record */
	uint32_t ended; /* 1: the stream has ended */
};

/* Says that a page may hold something else than zeros. Any thread. */
void molt_target_note_written(const struct molt_ram_target *target, uint64_t page);

/* Makes a page zero without touching it if nobody ever wrote it. Any thread. */
void molt_target_clear(const struct molt_ram_target *target, uint64_t page);

#endif
