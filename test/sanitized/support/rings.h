#ifndef RINGS_H
#define RINGS_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#include "../../../ffi/virtio_queue.h"

/*
 * The driver's side of a split virtqueue, in memory that the device maps too. One thread uses a ring;
 * the device works at the same time.
 */

#define RING_SIZE 64
/* Bytes of guest memory that a ring takes. */
#define RING_BYTES 8192

struct ring {
	uint8_t *memory; /* guest-physical 0 */
	uint64_t address; /* guest-physical; a multiple of 4096 */
	int kick; /* eventfd */
	bool event_index;
	uint16_t added;
	uint16_t notified; /* `added` when the device was notified, or need not be, last */
	uint16_t seen;
	uint16_t next; /* the next descriptor */
	struct vring_desc *descriptors;
	struct vring_avail *available;
	struct vring_used *used;
};

/* A buffer of a request. */
struct ring_buffer {
	uint64_t address;
	uint32_t length;
	bool written; /* by the device */
};

void ring_init(struct ring *ring, uint8_t *memory, uint64_t address, bool event_index,
	       bool blocking);

/* A queue for devices whose memory and interrupt have these handles. */
static inline struct molt_queue *queue_of(uint64_t memory, uint64_t interrupt)
{
	return (struct molt_queue *)(uintptr_t)molt_queue_create(
		(struct molt_memory *)(uintptr_t)memory,
		(struct molt_interrupt *)(uintptr_t)interrupt, 0);
}

/* What the device is to know of the ring when it looks at its available index `position` next. */
struct molt_queue_setup ring_setup(const struct ring *ring, uint32_t position);

/* Adds a request. Returns the index of its first descriptor, by which it comes back. */
uint16_t ring_add(struct ring *ring, const struct ring_buffer *buffers, uint32_t count);

/* Notifies the device if it wants to know. */
void ring_notify(struct ring *ring);

/* Takes a request that the device has returned. False: there is none. */
bool ring_take(struct ring *ring, struct vring_used_elem *element);

/* The same, waiting for it. */
struct vring_used_elem ring_await(struct ring *ring);

#endif
