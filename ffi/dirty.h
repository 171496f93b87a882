#ifndef MOLT_DIRTY_H
#define MOLT_DIRTY_H

#include <stdint.h>

/* A vCPU's dirty ring, mapped. */
struct molt_dirty_ring {
	uint64_t entries; /* address of struct kvm_dirty_gfn[size] */
	uint32_t size; /* a power of two */
	uint32_t next; /* entries harvested so far */
};

/* What belongs to a memory slot. */
struct molt_dirty_slot {
	uint64_t bitmap; /* the block's page bitmap */
	uint64_t first; /* page of the block with which the slot begins */
	uint64_t pages;
};

#endif
