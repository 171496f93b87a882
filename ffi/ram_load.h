#ifndef MOLT_RAM_LOAD_H
#define MOLT_RAM_LOAD_H

#include <stdint.h>

#include "ram_record.h"

/* Bytes of a stream between a channel and guest memory. src/native/ram_load.ts fills it in. */
struct molt_ram_buffer {
	uint64_t start; /* first byte that was not consumed */
	uint64_t end; /* behind the last byte that was read */
	uint64_t consumed; /* bytes consumed in all */
	uint32_t current; /* index of the block of the last record */
	uint32_t ended; /* 1: the stream has ended */
};

/* Notes that a page may hold something else than zeros. Any thread. */
void molt_target_note_written(const struct molt_ram_target *target, uint64_t page);

/* Makes a page zero without touching it if nobody ever wrote it. Any thread. */
void molt_target_clear(const struct molt_ram_target *target, uint64_t page);

#endif
