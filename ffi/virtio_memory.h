#ifndef MOLT_VIRTIO_MEMORY_H
#define MOLT_VIRTIO_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The guest's physical memory as devices in C see it: pieces of RAM, and for each a record of the pages
 * that devices wrote, which KVM knows nothing of, for a live migration to send again.
 */
struct molt_memory;

/* One piece of RAM as TypeScript describes it. */
struct molt_memory_region {
	uint64_t guest; /* guest-physical address */
	uint64_t size;
	uint64_t host; /* address in this process */
};

/*
 * The host address of guest-physical [address, address + *length), or NULL if `address` is not RAM.
 * Shortens *length where the piece of RAM ends.
 */
void *molt_memory_at(const struct molt_memory *memory, uint64_t address, uint64_t *length);

/* The host address of guest-physical [address, address + length) if all of it is one piece of RAM. */
void *molt_memory_range(const struct molt_memory *memory, uint64_t address, uint64_t length);

/* Records that a device wrote [address, address + length), while somebody wants to know. Any thread. */
void molt_memory_mark(struct molt_memory *memory, uint64_t address, uint64_t length);

#endif
