/* Split virtqueues (see virtio_queue.h). */
#include "molt.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "virtio_queue.h"

MOLT_EXPORT int32_t molt_queue_fail(struct molt_queue *queue, uint32_t fault)
{
	queue->fault = fault;
	return -(int32_t)fault;
}

/* The driver's wish, behind the available ring: interrupt when this used index is passed. */
static uint16_t used_event(const struct molt_queue *queue)
{
	return __atomic_load_n(&queue->available->ring[queue->setup.size], __ATOMIC_RELAXED);
}

/* Ours, behind the used ring: notify when this available index is passed. */
static void set_available_event(struct molt_queue *queue, uint16_t index)
{
	void *place = &queue->used->ring[queue->setup.size];

	__atomic_store_n((uint16_t *)place, index, __ATOMIC_RELAXED);
	molt_memory_mark(queue->memory, queue->setup.used + 4 + 8 * queue->setup.size, 2);
}

static void *ring(const struct molt_queue *queue, uint64_t address, uint64_t length,
		  uint64_t alignment)
{
	return address % alignment ? NULL : molt_memory_range(queue->memory, address, length);
}

MOLT_EXPORT int32_t molt_queue_start(struct molt_queue *queue, const struct molt_queue_setup *setup)
{
	uint64_t size = setup->size;

	queue->setup = *setup;
	queue->fault = MOLT_QUEUE_SOUND;
	if (size == 0 || size > MOLT_QUEUE_MAXIMUM)
		return molt_queue_fail(queue, MOLT_QUEUE_RINGS);
	queue->descriptors = ring(queue, setup->descriptors, 16 * size, 16);
	queue->available = ring(queue, setup->available, 6 + 2 * size, 2);
	queue->used = ring(queue, setup->used, 6 + 8 * size, 4);
	if (!queue->descriptors || !queue->available || !queue->used)
		return molt_queue_fail(queue, MOLT_QUEUE_RINGS);
	queue->last_available = (uint16_t)setup->last_available;
	queue->available_index = queue->last_available;
	queue->used_index = __atomic_load_n(&queue->used->idx, __ATOMIC_RELAXED);
	queue->in_flight = (uint16_t)(queue->last_available - queue->used_index);
	queue->signalled_known = false;
	if (queue->in_flight > size)
		return molt_queue_fail(queue, MOLT_QUEUE_USED_INDEX);
	return 0;
}

MOLT_EXPORT void molt_queue_stop(struct molt_queue *queue)
{
	if (queue->used)
		molt_queue_enable_notifications(queue);
	queue->descriptors = NULL;
	queue->available = NULL;
	queue->used = NULL;
}

int molt_element_add(const struct molt_memory *memory, struct molt_element *element,
		     uint64_t address, uint64_t length, bool written)
{
	if (length == 0)
		return -MOLT_QUEUE_EMPTY_BUFFER;
	if (!written && element->in_count > 0)
		return -MOLT_QUEUE_ORDER;
	/* A buffer that continues in another piece of RAM counts as two. */
	while (length > 0) {
		uint32_t index = element->out_count + element->in_count;
		uint64_t there = length;
		void *host = molt_memory_at(memory, address, &there);

		if (!host)
			return -MOLT_QUEUE_BUFFER;
		if (index == MOLT_QUEUE_MAXIMUM)
			return -MOLT_QUEUE_LENGTH;
		element->buffers[index] = (struct molt_buffer){ address, there };
		element->iov[index] = (struct iovec){ host, there };
		if (written)
			element->in_count++;
		else
			element->out_count++;
		address += there;
		length -= there;
	}
	return 0;
}

/* Follows the chain that starts at `head`. Returns 0 or the fault, negative. */
static int walk(struct molt_queue *queue, uint32_t head, struct molt_element *element)
{
	const struct vring_desc *table = queue->descriptors;
	uint32_t size = queue->setup.size;
	uint32_t index = head;
	bool indirect = false;

	element->head = head;
	element->out_count = 0;
	element->in_count = 0;
	for (uint32_t seen = 1;; seen++) {
		struct vring_desc descriptor;

		if (seen > size)
			return -MOLT_QUEUE_LOOP;
		memcpy(&descriptor, &table[index], sizeof descriptor);
		__asm__ volatile("" : "+m"(descriptor)); /* read once: the guest may change it */
		if (descriptor.flags & VRING_DESC_F_INDIRECT) {
			if (indirect)
				return -MOLT_QUEUE_INDIRECT_NESTED;
			if (!(queue->setup.features & MOLT_QUEUE_INDIRECT))
				return -MOLT_QUEUE_INDIRECT_REFUSED;
			if (descriptor.len == 0 || descriptor.len % sizeof descriptor != 0)
				return -MOLT_QUEUE_INDIRECT_SIZE;
			table = molt_memory_range(queue->memory, descriptor.addr, descriptor.len);
			if (!table)
				return -MOLT_QUEUE_INDIRECT_PLACE;
			size = descriptor.len / sizeof descriptor;
			indirect = true;
			index = 0;
			seen = 0;
			continue;
		}

		int error = molt_element_add(queue->memory, element, descriptor.addr,
					     descriptor.len, descriptor.flags & VRING_DESC_F_WRITE);

		if (error)
			return error;
		if (!(descriptor.flags & VRING_DESC_F_NEXT))
			return 0;
		index = descriptor.next;
		if (index >= size)
			return -MOLT_QUEUE_NEXT;
	}
}

MOLT_EXPORT int32_t molt_queue_pop(struct molt_queue *queue, struct molt_element *element)
{
	if (queue->fault)
		return -(int)queue->fault;
	if (queue->available_index == queue->last_available) {
		queue->available_index =
			__atomic_load_n(&queue->available->idx, __ATOMIC_ACQUIRE);

		uint16_t waiting = (uint16_t)(queue->available_index - queue->last_available);

		if (waiting > queue->setup.size)
			return molt_queue_fail(queue, MOLT_QUEUE_AVAILABLE_INDEX);
		if (waiting == 0)
			return 0;
	}
	if (queue->in_flight >= queue->setup.size)
		return molt_queue_fail(queue, MOLT_QUEUE_IN_FLIGHT);

	uint16_t *entry = &queue->available->ring[queue->last_available % queue->setup.size];
	uint32_t head = __atomic_load_n(entry, __ATOMIC_RELAXED);

	if (head >= queue->setup.size)
		return molt_queue_fail(queue, MOLT_QUEUE_HEAD);

	int error = walk(queue, head, element);

	if (error)
		return molt_queue_fail(queue, (uint32_t)-error);
	queue->last_available++;
	queue->in_flight++;
	return 1;
}

MOLT_EXPORT void molt_queue_unpop(struct molt_queue *queue, uint32_t count)
{
	queue->last_available -= (uint16_t)count;
	queue->in_flight -= (uint16_t)count;
}

MOLT_EXPORT void molt_queue_rewind(struct molt_queue *queue)
{
	molt_queue_unpop(queue, queue->in_flight);
}

void molt_queue_fill(struct molt_queue *queue, uint32_t head, uint32_t written, uint16_t place)
{
	uint32_t slot = (uint16_t)(queue->used_index + place) % queue->setup.size;

	queue->used->ring[slot] = (struct vring_used_elem){ head, written };
	molt_memory_mark(queue->memory, queue->setup.used + 4 + 8 * slot, 8);
}

void molt_queue_flush(struct molt_queue *queue, uint16_t count)
{
	queue->used_index += count;
	queue->in_flight -= count;
	__atomic_store_n(&queue->used->idx, queue->used_index, __ATOMIC_RELEASE);
	molt_memory_mark(queue->memory, queue->setup.used + 2, 2);
}

MOLT_EXPORT void molt_queue_push(struct molt_queue *queue, uint32_t head, uint32_t written)
{
	molt_queue_fill(queue, head, written, 0);
	molt_queue_flush(queue, 1);
}

static bool wants_interrupt(struct molt_queue *queue)
{
	/* The driver reads the used index after it says what it wants; we the other way round. */
	atomic_thread_fence(memory_order_seq_cst);
	if ((queue->setup.features & MOLT_QUEUE_NOTIFY_ON_EMPTY) && queue->in_flight == 0 &&
	    __atomic_load_n(&queue->available->idx, __ATOMIC_RELAXED) == queue->last_available)
		return true;
	if (!(queue->setup.features & MOLT_QUEUE_EVENT_INDEX))
		return !(__atomic_load_n(&queue->available->flags, __ATOMIC_RELAXED) &
			 VRING_AVAIL_F_NO_INTERRUPT);

	uint16_t before = queue->signalled;
	bool known = queue->signalled_known;

	queue->signalled = queue->used_index;
	queue->signalled_known = true;
	return !known || vring_need_event(used_event(queue), queue->used_index, before);
}

MOLT_EXPORT void molt_queue_notify(struct molt_queue *queue)
{
	if (wants_interrupt(queue))
		molt_interrupt_assert(queue->interrupt, MOLT_INTERRUPT_QUEUE,
				      MOLT_CAUSE_QUEUE(queue->index));
}

static void set_flags(struct molt_queue *queue, uint16_t flags)
{
	__atomic_store_n(&queue->used->flags, flags, __ATOMIC_RELAXED);
	molt_memory_mark(queue->memory, queue->setup.used, 2);
}

/* Asks for a notification of what comes after the first `seen` requests. True: it is there already. */
static bool enable_after(struct molt_queue *queue, uint16_t seen)
{
	if (queue->setup.features & MOLT_QUEUE_EVENT_INDEX)
		set_available_event(queue, seen);
	else
		set_flags(queue, 0);
	/* The driver adds a request before it looks whether to notify; we the other way round. */
	atomic_thread_fence(memory_order_seq_cst);
	return __atomic_load_n(&queue->available->idx, __ATOMIC_RELAXED) != seen;
}

MOLT_EXPORT int32_t molt_queue_enable_notifications(struct molt_queue *queue)
{
	return enable_after(queue, queue->last_available);
}

int32_t molt_queue_enable_notifications_of_more(struct molt_queue *queue)
{
	return enable_after(queue, queue->available_index);
}

void molt_queue_disable_notifications(struct molt_queue *queue)
{
	/* With the event index, the one that is set has been passed already. */
	if (!(queue->setup.features & MOLT_QUEUE_EVENT_INDEX))
		set_flags(queue, VRING_USED_F_NO_NOTIFY);
}

void molt_element_mark(struct molt_memory *memory, const struct molt_element *element,
		       uint64_t written)
{
	const struct molt_buffer *buffer = &element->buffers[element->out_count];

	for (uint32_t i = 0; i < element->in_count && written > 0; i++, buffer++) {
		uint64_t length = buffer->length < written ? buffer->length : written;

		molt_memory_mark(memory, buffer->address, length);
		written -= length;
	}
}

MOLT_EXPORT uint32_t molt_queue_last_available(const struct molt_queue *queue)
{
	return queue->last_available;
}

MOLT_EXPORT uint32_t molt_queue_fault(const struct molt_queue *queue)
{
	return queue->fault;
}

/* Queue `index` of a device that has `memory` and `interrupt`. Returns its handle, or -ENOMEM. */
MOLT_EXPORT int64_t molt_queue_create(struct molt_memory *memory, struct molt_interrupt *interrupt,
				      uint32_t index)
{
	struct molt_queue *queue = calloc(1, sizeof *queue);

	if (!queue)
		return -ENOMEM;
	queue->memory = memory;
	queue->interrupt = interrupt;
	queue->index = index;
	return (int64_t)(uintptr_t)queue;
}

MOLT_EXPORT void molt_queue_destroy(struct molt_queue *queue)
{
	free(queue);
}
