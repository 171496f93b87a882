#ifndef MOLT_VIRTIO_QUEUE_H
#define MOLT_VIRTIO_QUEUE_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "virtio_interrupt.h"
#include "virtio_memory.h"

/*
 * The device's side of a split virtqueue (Virtual I/O Device specification 1.2, chapter 2.7): takes
 * descriptor chains from the available ring, checks them and finds their buffers in this process, and
 * returns them by the used ring. Everything in guest memory may be wrong and may change at any time:
 * each value is read once and checked before use. A queue that breaks the rules has a fault from then
 * on and gives nothing more until it is started again.
 *
 * One thread uses a queue at a time.
 */

/* Entries of the largest queue, and buffers of the longest request. */
#define MOLT_QUEUE_MAXIMUM 1024

/* What was wrong in the guest's memory. TypeScript has the words for it. */
enum molt_queue_fault {
	MOLT_QUEUE_SOUND = 0,
	MOLT_QUEUE_RINGS = 1, /* a ring is not in RAM or not aligned */
	MOLT_QUEUE_AVAILABLE_INDEX = 2, /* more requests than entries */
	MOLT_QUEUE_IN_FLIGHT = 3, /* more requests popped than entries */
	MOLT_QUEUE_HEAD = 4, /* a chain starts outside the table */
	MOLT_QUEUE_NEXT = 5, /* a chain leaves the table */
	MOLT_QUEUE_LOOP = 6, /* a chain has more descriptors than the table */
	MOLT_QUEUE_LENGTH = 7, /* a chain has too many buffers */
	MOLT_QUEUE_ORDER = 8, /* a buffer to be read after one to be written */
	MOLT_QUEUE_EMPTY_BUFFER = 9,
	MOLT_QUEUE_BUFFER = 10, /* a buffer is not in RAM */
	MOLT_QUEUE_INDIRECT_SIZE = 11,
	MOLT_QUEUE_INDIRECT_PLACE = 12, /* an indirect table is not in RAM */
	MOLT_QUEUE_INDIRECT_NESTED = 13,
	MOLT_QUEUE_INDIRECT_REFUSED = 14, /* the feature was not negotiated */
	MOLT_QUEUE_REQUEST = 15, /* a sound chain that is no request of the device */
	MOLT_QUEUE_USED_INDEX = 16, /* the used index does not fit the saved state */
};

/* Features that were negotiated. */
#define MOLT_QUEUE_EVENT_INDEX 1
#define MOLT_QUEUE_INDIRECT 2
#define MOLT_QUEUE_NOTIFY_ON_EMPTY 4

/* Where the driver put a queue. Addresses are guest-physical. */
struct molt_queue_setup {
	uint64_t descriptors;
	uint64_t available;
	uint64_t used;
	uint32_t size; /* entries, 1 to MOLT_QUEUE_MAXIMUM */
	uint32_t features;
	uint32_t last_available; /* the next available index to look at */
	uint32_t reserved;
};

struct molt_queue {
	struct molt_memory *memory;
	struct molt_interrupt *interrupt;
	uint32_t index; /* its number in the device */
	struct molt_queue_setup setup;
	struct vring_desc *descriptors;
	struct vring_avail *available;
	struct vring_used *used;
	uint32_t fault; /* enum molt_queue_fault */
	uint16_t last_available;
	uint16_t available_index; /* the driver's, when it was read last */
	uint16_t used_index;
	uint16_t signalled; /* used index when the driver was asked last whether it wants interrupts */
	bool signalled_known;
	uint16_t in_flight; /* requests popped and not pushed */
};

/* A buffer of a request; guest-physical. */
struct molt_buffer {
	uint64_t address;
	uint64_t length;
};

/* A request: buffers to be read, then buffers to be written. None is empty. */
struct molt_element {
	uint32_t head; /* its first descriptor, by which it is returned */
	uint32_t out_count;
	uint32_t in_count;
	uint32_t reserved;
	struct molt_buffer buffers[MOLT_QUEUE_MAXIMUM];
	struct iovec iov[MOLT_QUEUE_MAXIMUM]; /* the same in this process */
};

/*
 * Names are QEMU's (hw/virtio/virtio.c) and the specification's. TypeScript calls the functions, too, for
 * the queues of its devices (src/native/virtqueue.ts).
 */

/* Finds the rings and takes up the work. Returns 0 or the fault, negative. */
int32_t molt_queue_start(struct molt_queue *queue, const struct molt_queue_setup *setup);

/* Leaves the rings so that any device can go on with them: the driver notifies again. */
void molt_queue_stop(struct molt_queue *queue);

/* Takes the next request. Returns 1, 0 if there is none, or the fault, negative. */
int32_t molt_queue_pop(struct molt_queue *queue, struct molt_element *element);

/* Leaves the last `count` requests in the queue after all. */
void molt_queue_unpop(struct molt_queue *queue, uint32_t count);

/* Leaves all requests in the queue that were popped and not pushed, also by a device before this one. */
void molt_queue_rewind(struct molt_queue *queue);

/* Puts buffers into `element` and finds them in this process. Returns 0 or the fault, negative. */
int molt_element_add(const struct molt_memory *memory, struct molt_element *element,
		     uint64_t address, uint64_t length, bool written);

/* Returns a request as used, of which the first `written` bytes of its buffers to be written were. */
void molt_queue_push(struct molt_queue *queue, uint32_t head, uint32_t written);

/* As push, but the driver sees `count` requests at once, after molt_queue_flush. */
void molt_queue_fill(struct molt_queue *queue, uint32_t head, uint32_t written, uint16_t place);
void molt_queue_flush(struct molt_queue *queue, uint16_t count);

/* Sends the driver a used buffer notification if it wants to know of what was pushed. */
void molt_queue_notify(struct molt_queue *queue);

/* Asks the driver for available buffer notifications. 1: there are requests already; else 0. */
int32_t molt_queue_enable_notifications(struct molt_queue *queue);
/* The same when the requests that pop has seen, and that were left in the queue, are not enough. */
int32_t molt_queue_enable_notifications_of_more(struct molt_queue *queue);
void molt_queue_disable_notifications(struct molt_queue *queue);

/* Marks the first `written` bytes of the buffers to be written for a live migration. */
void molt_element_mark(struct molt_memory *memory, const struct molt_element *element,
		       uint64_t written);

/* Declares the queue broken by `fault`, an enum molt_queue_fault. Returns the fault, negative. */
int32_t molt_queue_fail(struct molt_queue *queue, uint32_t fault);

/* What is wrong with the queue: an enum molt_queue_fault. */
uint32_t molt_queue_fault(const struct molt_queue *queue);

/* The next available index that the device will look at. */
uint32_t molt_queue_last_available(const struct molt_queue *queue);

/* Queue `index` of a device that has `memory` and `interrupt`: its address, or -ENOMEM. */
int64_t molt_queue_create(struct molt_memory *memory, struct molt_interrupt *interrupt, uint32_t index);

void molt_queue_destroy(struct molt_queue *queue);

#endif
