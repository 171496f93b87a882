/*
 * virtio-blk (Virtual I/O Device specification 1.2, chapter 5.2) without TypeScript: requests are taken
 * from the queues (virtio_blk_queue.h), done on the image (virtio_blk_request.h), counted
 * (virtio_blk_accounting.h) and returned. This is how TypeScript sets the disk up, starts and stops its
 * queues, and hears of faults and failed requests.
 */
#include "molt.h"

#include <stdlib.h>

#include "virtio_blk_queue.h"

struct disk {
	struct molt_disk disk;
	uint32_t queue_count;
	struct molt_disk_queue queues[];
};

static struct molt_disk *disk_of(uint64_t handle)
{
	return &((struct disk *)(uintptr_t)handle)->disk;
}

static struct molt_disk_queue *queue_of(uint64_t handle, uint32_t index)
{
	return &((struct disk *)(uintptr_t)handle)->queues[index];
}

/* Ends everything and frees the disk. No request may be under way: their end would be waited for. */
MOLT_EXPORT void molt_disk_destroy(uint64_t handle)
{
	struct disk *disk = (void *)(uintptr_t)handle;

	for (uint32_t i = 0; i < disk->queue_count; i++)
		molt_disk_queue_end(&disk->queues[i]);
	pthread_mutex_destroy(&disk->disk.accounting.lock);
	free(disk);
}

/*
 * A disk with `count` queues: `rings` holds their handles, `kicks` their notifications' descriptors.
 * Faults and errors are reported by the eventfd `attention`. Nothing moves before molt_disk_start.
 * Returns the disk's handle, or -errno.
 */
MOLT_EXPORT int64_t molt_disk_create(uint64_t memory, const struct molt_disk_setup *setup,
				     const uint64_t *rings, const int32_t *kicks, uint32_t count,
				     int32_t attention)
{
	struct disk *created = calloc(1, sizeof *created + count * sizeof created->queues[0]);

	if (!created)
		return -ENOMEM;

	struct molt_disk *disk = &created->disk;

	disk->setup = *setup;
	disk->memory = (void *)(uintptr_t)memory;
	disk->attention = attention;
	atomic_store(&disk->write_cache, true);
	pthread_mutex_init(&disk->accounting.lock, NULL);
	for (uint32_t i = 0; i < count; i++) {
		int error = molt_disk_queue_init(&created->queues[i], disk,
						 (void *)(uintptr_t)rings[i], kicks[i]);

		created->queue_count++;
		if (error) {
			molt_disk_destroy((uint64_t)(uintptr_t)created);
			return error;
		}
	}
	return (int64_t)(uintptr_t)created;
}

/* Lets queue `index` work; its ring has been started. */
MOLT_EXPORT void molt_disk_start(uint64_t handle, uint32_t index)
{
	molt_disk_queue_start(queue_of(handle, index));
}

/*
 * Ends the work of queue `index`, and waits until `deadline` (CLOCK_MONOTONIC) for requests under way.
 * Returns 0 if there are none any more: its ring may be stopped then. 1: the attention is called when they
 * have ended, unless the queue is started before.
 */
MOLT_EXPORT int32_t molt_disk_stop(uint64_t handle, uint32_t index, int64_t deadline)
{
	return !molt_disk_queue_stop(queue_of(handle, index), deadline);
}

/* 1 if requests of queue `index` are under way, else 0. */
MOLT_EXPORT int32_t molt_disk_is_busy(uint64_t handle, uint32_t index)
{
	return molt_disk_queue_is_busy(queue_of(handle, index));
}

/* Whether writes may stay in the host's cache until a flush. */
MOLT_EXPORT void molt_disk_set_write_cache(uint64_t handle, uint32_t on)
{
	atomic_store(&disk_of(handle)->write_cache, on != 0);
}

/* Takes the image's size over after it changed. The disk must be stopped. */
MOLT_EXPORT void molt_disk_set_size(uint64_t handle, uint64_t size)
{
	disk_of(handle)->setup.image.size = size;
}

/* Takes the errors noted since the last call. Returns how many: at most MOLT_DISK_ERRORS_KEPT. */
MOLT_EXPORT uint32_t molt_disk_errors(uint64_t handle, struct molt_disk_error *errors)
{
	return molt_disk_take_errors(&disk_of(handle)->accounting, errors);
}

/* Fills `values`, a struct molt_disk_statistics. Requests may be counted meanwhile. */
MOLT_EXPORT void molt_disk_read_statistics(uint64_t handle, uint64_t *values)
{
	const struct molt_disk_statistics *statistics = &disk_of(handle)->accounting.statistics;
	const _Atomic uint64_t *counters = (const void *)statistics;

	for (size_t i = 0; i < sizeof *statistics / sizeof *counters; i++)
		values[i] = atomic_load_explicit(&counters[i], memory_order_relaxed);
}

/* Copies the `nth` request kept in queue `index`, which is stopped. Returns 1, or 0: no more. */
MOLT_EXPORT int32_t molt_disk_kept(uint64_t handle, uint32_t index, uint32_t nth,
				   struct molt_element *element)
{
	const struct molt_disk_kept *kept = queue_of(handle, index)->kept;

	while (kept && nth-- > 0)
		kept = kept->next;
	if (!kept)
		return 0;
	*element = kept->element;
	return 1;
}

/*
 * Adds a request to those kept in queue `index`, which is stopped: `buffers` of which the first
 * `out_count` are to be read. Returns 0, -ENOMEM, or -EFAULT if a buffer is not in RAM.
 */
MOLT_EXPORT int32_t molt_disk_keep(uint64_t handle, uint32_t index, uint32_t head,
				   const struct molt_buffer *buffers, uint32_t out_count,
				   uint32_t in_count)
{
	struct molt_disk_kept *kept = calloc(1, sizeof *kept);

	if (!kept)
		return -ENOMEM;
	kept->element.head = head;
	for (uint32_t i = 0; i < out_count + in_count; i++) {
		if (molt_element_add(disk_of(handle)->memory, &kept->element, buffers[i].address,
				     buffers[i].length, i >= out_count)) {
			free(kept);
			return -EFAULT;
		}
	}
	molt_disk_queue_keep(queue_of(handle, index), kept);
	return 0;
}

/* Forgets the requests kept in queue `index`: the device was reset. */
MOLT_EXPORT void molt_disk_forget(uint64_t handle, uint32_t index)
{
	molt_disk_queue_forget(queue_of(handle, index));
}
