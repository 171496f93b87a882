/* The guest's physical memory as devices in C see it (see virtio_memory.h). */
#include "molt.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "pages.h"
#include "virtio_memory.h"

struct region {
	struct molt_memory_region place; /* `host` is where it was at first */
	_Atomic uint64_t host; /* where it is now */
	_Atomic uint64_t *written; /* page bitmap of the block; NULL while nobody wants to know */
	uint64_t first; /* the region's first page in it */
};

struct molt_memory {
	_Atomic bool recording; /* some region has a bitmap */
	pthread_mutex_t lock; /* bitmaps go away only while nobody marks */
	uint32_t count;
	struct region regions[];
};

/* Copies `count` regions. They must not overlap. Returns the memory's handle, or -ENOMEM. */
MOLT_EXPORT int64_t molt_memory_create(const struct molt_memory_region *places, uint32_t count)
{
	struct molt_memory *memory = calloc(1, sizeof *memory + count * sizeof memory->regions[0]);

	if (!memory)
		return -ENOMEM;
	pthread_mutex_init(&memory->lock, NULL);
	memory->count = count;
	for (uint32_t i = 0; i < count; i++) {
		memory->regions[i].place = places[i];
		atomic_store(&memory->regions[i].host, places[i].host);
	}
	return (int64_t)(uintptr_t)memory;
}

MOLT_EXPORT void molt_memory_destroy(uint64_t handle)
{
	struct molt_memory *memory = (void *)(uintptr_t)handle;

	pthread_mutex_destroy(&memory->lock);
	free(memory);
}

/*
 * Region `index` shows the memory at `host` of this process from now on, as much as before. Whoever has found
 * memory in it already goes on with what was there, which stays mapped.
 */
MOLT_EXPORT void molt_memory_move(uint64_t handle, uint32_t index, uint64_t host)
{
	struct molt_memory *memory = (void *)(uintptr_t)handle;

	atomic_store(&memory->regions[index].host, host);
}

/*
 * Pages of region `index` that devices write are set in `bitmap` from now on: a page bitmap (pages.h)
 * in which the region's first page is number `first`. 0 ends that: when the call has returned, the
 * bitmap given before is not used any more.
 */
MOLT_EXPORT void molt_memory_record(uint64_t handle, uint32_t index, uint64_t bitmap,
				    uint64_t first)
{
	struct molt_memory *memory = (void *)(uintptr_t)handle;
	bool recording = false;

	pthread_mutex_lock(&memory->lock);
	memory->regions[index].written = (void *)(uintptr_t)bitmap;
	memory->regions[index].first = first;
	for (uint32_t i = 0; i < memory->count; i++)
		recording |= memory->regions[i].written != NULL;
	atomic_store(&memory->recording, recording);
	pthread_mutex_unlock(&memory->lock);
}

static const struct region *find(const struct molt_memory *memory, uint64_t address)
{
	for (uint32_t i = 0; i < memory->count; i++) {
		const struct region *region = &memory->regions[i];

		if (address - region->place.guest < region->place.size)
			return region;
	}
	return NULL;
}

void *molt_memory_at(const struct molt_memory *memory, uint64_t address, uint64_t *length)
{
	const struct region *region = find(memory, address);

	if (!region)
		return NULL;

	uint64_t offset = address - region->place.guest;

	if (*length > region->place.size - offset)
		*length = region->place.size - offset;
	return (void *)(uintptr_t)(atomic_load(&region->host) + offset);
}

void *molt_memory_range(const struct molt_memory *memory, uint64_t address, uint64_t length)
{
	uint64_t there = length;
	void *host = molt_memory_at(memory, address, &there);

	return there == length ? host : NULL;
}

static void mark_in(const struct region *region, uint64_t offset, uint64_t length)
{
	uint64_t last = region->first + ((offset + length - 1) >> MOLT_PAGE_SHIFT);

	for (uint64_t page = region->first + (offset >> MOLT_PAGE_SHIFT); page <= last; page++)
		atomic_fetch_or(&region->written[page >> 6], UINT64_C(1) << (page & 63));
}

void molt_memory_mark(struct molt_memory *memory, uint64_t address, uint64_t length)
{
	if (!atomic_load(&memory->recording))
		return;
	pthread_mutex_lock(&memory->lock);
	while (length > 0) {
		const struct region *region = find(memory, address);

		if (!region)
			break;

		uint64_t offset = address - region->place.guest;
		uint64_t there = region->place.size - offset;

		if (there > length)
			there = length;
		if (region->written)
			mark_in(region, offset, there);
		address += there;
		length -= there;
	}
	pthread_mutex_unlock(&memory->lock);
}
