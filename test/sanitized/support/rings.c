/* The driver's side of a split virtqueue (see rings.h). */
#define _GNU_SOURCE
#include "rings.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "program.h"

#define AVAILABLE_OFFSET 2048
#define USED_OFFSET 4096

void ring_init(struct ring *ring, uint8_t *memory, uint64_t address, bool event_index,
	       bool blocking)
{
	memset(ring, 0, sizeof *ring);
	ring->memory = memory;
	ring->address = address;
	ring->event_index = event_index;
	ring->descriptors = (void *)(memory + address);
	ring->available = (void *)(memory + address + AVAILABLE_OFFSET);
	ring->used = (void *)(memory + address + USED_OFFSET);
	ring->kick = eventfd(0, EFD_CLOEXEC | (blocking ? 0 : EFD_NONBLOCK));
	check(ring->kick >= 0, "eventfd: %s", strerror(errno));
	/* The driver polls. */
	ring->available->flags = VRING_AVAIL_F_NO_INTERRUPT;
}

struct molt_queue_setup ring_setup(const struct ring *ring, uint32_t position)
{
	return (struct molt_queue_setup){
		.descriptors = ring->address,
		.available = ring->address + AVAILABLE_OFFSET,
		.used = ring->address + USED_OFFSET,
		.size = RING_SIZE,
		.features = MOLT_QUEUE_INDIRECT | (ring->event_index ? MOLT_QUEUE_EVENT_INDEX : 0),
		.last_available = position,
	};
}

uint16_t ring_add(struct ring *ring, const struct ring_buffer *buffers, uint32_t count)
{
	uint16_t head = ring->next;

	for (uint32_t i = 0; i < count; i++) {
		uint16_t slot = ring->next;

		ring->next = (uint16_t)((slot + 1) % RING_SIZE);
		ring->descriptors[slot] = (struct vring_desc){
			.addr = buffers[i].address,
			.len = buffers[i].length,
			.flags = (uint16_t)((buffers[i].written ? VRING_DESC_F_WRITE : 0) |
					    (i + 1 < count ? VRING_DESC_F_NEXT : 0)),
			.next = ring->next,
		};
	}
	__atomic_store_n(&ring->available->ring[ring->added % RING_SIZE], head, __ATOMIC_RELAXED);
	__atomic_store_n(&ring->available->idx, ++ring->added, __ATOMIC_RELEASE);
	return head;
}

void ring_notify(struct ring *ring)
{
	uint16_t before = ring->notified;
	bool wanted;

	/* What was added is visible before the device's wish is looked at. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	ring->notified = ring->added;
	if (ring->event_index) {
		uint16_t *event = (void *)&ring->used->ring[RING_SIZE];

		wanted = vring_need_event(__atomic_load_n(event, __ATOMIC_RELAXED), ring->added,
					  before);
	} else {
		wanted = !(__atomic_load_n(&ring->used->flags, __ATOMIC_RELAXED) &
			   VRING_USED_F_NO_NOTIFY);
	}
	if (wanted)
		eventfd_write(ring->kick, 1);
}

bool ring_take(struct ring *ring, struct vring_used_elem *element)
{
	if (__atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE) == ring->seen)
		return false;
	*element = ring->used->ring[ring->seen++ % RING_SIZE];
	return true;
}

struct vring_used_elem ring_await(struct ring *ring)
{
	struct vring_used_elem element;

	for (uint32_t look = 0; !ring_take(ring, &element); look++) {
		if (look < 100)
			sched_yield();
		else
			usleep(50);
	}
	return element;
}
