/* A pair of queues of virtio-net (see virtio_net_pair.h). */
#include "molt.h"

#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "iov.h"
#include "thread.h"
#include "virtio_net_pair.h"

/* Frames in one direction before the other has its turn. */
#define BURST 64
/* ms until a datagram is tried again that found no room. */
#define FULL_TIME 1

static bool wanted(struct molt_net_device *device, const uint8_t *frame, uint32_t length)
{
	pthread_mutex_lock(&device->filter_lock);

	bool pass = atomic_load(&device->link) &&
		    molt_net_filter_passes(&device->filter, frame, length);

	pthread_mutex_unlock(&device->filter_lock);
	return pass;
}

/* Whether the frame went into the driver's buffers. Otherwise it waits, or is given up. */
enum delivery { DELIVERED, NO_BUFFERS, DROPPED, BROKEN };

/* Puts pair->frame into as many buffers as it takes. */
static enum delivery deliver(struct molt_net_pair *pair)
{
	struct molt_queue *queue = pair->receive;
	uint32_t header = atomic_load(&pair->device->header);
	bool merged = atomic_load(&pair->device->merged);
	struct virtio_net_hdr_mrg_rxbuf head = { 0 };
	struct iovec head_iov[MOLT_NET_HEADER_MERGED];
	struct molt_buffer head_buffers[MOLT_NET_HEADER_MERGED];
	uint32_t head_count = 0;
	uint32_t done = 0;
	uint16_t buffers = 0;

	memcpy(&head, pair->frame, header);
	while (done < pair->waiting) {
		int outcome = molt_queue_pop(queue, &pair->element);

		if (outcome < 0)
			return BROKEN;
		if (outcome == 0) {
			molt_queue_unpop(queue, buffers);
			return NO_BUFFERS;
		}

		const struct molt_element *element = &pair->element;
		const struct iovec *iov = element->iov + element->out_count;
		uint64_t room = molt_iov_length(iov, element->in_count);

		buffers++;
		if (buffers == 1) {
			/* The header is known when the number of buffers is. */
			head_count = element->in_count < MOLT_NET_HEADER_MERGED
				? element->in_count
				: MOLT_NET_HEADER_MERGED;
			memcpy(head_iov, iov, head_count * sizeof *iov);
			memcpy(head_buffers, element->buffers + element->out_count,
			       head_count * sizeof *head_buffers);
			if (room < header) {
				molt_queue_fail(queue, MOLT_QUEUE_REQUEST);
				return BROKEN;
			}
		}
		if (!merged && room < pair->waiting) {
			molt_queue_unpop(queue, buffers);
			return DROPPED;
		}

		uint32_t written = (uint32_t)molt_iov_write(iov, element->in_count,
							    pair->frame + done,
							    pair->waiting - done);

		molt_element_mark(queue->memory, element, written);
		molt_queue_fill(queue, element->head, written, (uint16_t)(buffers - 1));
		done += written;
	}
	if (header == MOLT_NET_HEADER_MERGED) {
		head.num_buffers = buffers;
		molt_iov_write(head_iov, head_count, &head, header);
		for (uint32_t i = 0; i < head_count; i++)
			molt_memory_mark(queue->memory, head_buffers[i].address,
					 head_buffers[i].length);
	}
	molt_queue_flush(queue, buffers);
	return DELIVERED;
}

/* Moves frames to the driver. True if any came. */
static bool receive(struct molt_net_pair *pair)
{
	uint32_t moved = 0;
	bool delivered = false;

	pair->starved = false;
	while (moved < BURST) {
		if (pair->waiting == 0) {
			uint32_t header = atomic_load(&pair->device->header);

			if (!pair->readable)
				break;
			pair->waiting = molt_net_backend_read(&pair->backend, pair->frame, header);
			if (pair->waiting == 0) {
				pair->readable = false;
				break;
			}
			moved++;
			if (!wanted(pair->device, pair->frame + header, pair->waiting - header)) {
				pair->waiting = 0;
				continue;
			}
		}

		enum delivery outcome = deliver(pair);

		if (outcome == NO_BUFFERS) {
			pair->starved = true;
			break;
		}
		pair->waiting = 0;
		if (outcome == BROKEN) {
			pair->receiving = false;
			eventfd_write(pair->device->attention, 1);
			return true;
		}
		delivered |= outcome == DELIVERED;
	}
	if (delivered)
		molt_queue_notify(pair->receive);
	return moved > 0;
}

/* Moves frames from the driver. True if any went. */
static bool transmit(struct molt_net_pair *pair)
{
	struct molt_queue *queue = pair->transmit;
	uint32_t header = atomic_load(&pair->device->header);
	uint32_t moved = 0;

	pair->blocked = !molt_net_backend_send_rest(&pair->backend);
	while (!pair->blocked && moved < BURST) {
		int outcome = molt_queue_pop(queue, &pair->element);

		if (outcome == 0)
			break;

		const struct molt_element *element = &pair->element;

		if (outcome > 0 && molt_iov_length(element->iov, element->out_count) < header)
			outcome = molt_queue_fail(queue, MOLT_QUEUE_REQUEST);
		if (outcome < 0) {
			pair->transmitting = false;
			eventfd_write(pair->device->attention, 1);
			break;
		}

		struct iovec *iov = pair->scratch;
		uint32_t count = element->out_count;

		memcpy(iov, element->iov, count * sizeof *iov);
		if (pair->backend.kind != MOLT_NET_TAP)
			count = molt_iov_skip(&iov, count, header);
		if (atomic_load(&pair->device->link) &&
		    !molt_net_backend_send(&pair->backend, iov, count)) {
			molt_queue_unpop(queue, 1);
			pair->blocked = true;
			break;
		}
		molt_queue_push(queue, element->head, 0);
		moved++;
	}
	if (moved > 0)
		molt_queue_notify(queue);
	return moved > 0;
}

static void drain(int event)
{
	uint64_t count;
	ssize_t got = read(event, &count, sizeof count);

	(void)got; /* it is the waking that counts */
}

/* Sleeps until something can move. The pair is locked, but not while it sleeps. */
static void wait_for_work(struct molt_net_pair *pair)
{
	bool look_again = false;
	short backend = 0;
	int timeout = -1;

	if (pair->transmitting && !pair->blocked)
		look_again |= molt_queue_enable_notifications(pair->transmit);
	if (pair->receiving && pair->starved)
		look_again |= molt_queue_enable_notifications_of_more(pair->receive);
	if (pair->receiving && !pair->starved && !pair->backend.lost)
		backend |= POLLIN;
	if (pair->transmitting && pair->blocked) {
		/* It is the other side's socket that is full, of which ours says nothing. */
		if (pair->backend.kind == MOLT_NET_DATAGRAM)
			timeout = FULL_TIME;
		else
			backend |= POLLOUT;
	}
	if (look_again)
		return;

	struct pollfd places[] = {
		{ .fd = pair->wake, .events = POLLIN },
		{ .fd = pair->transmitting && !pair->blocked ? pair->transmit_kick : -1,
		  .events = POLLIN },
		{ .fd = pair->receiving && pair->starved ? pair->receive_kick : -1,
		  .events = POLLIN },
		{ .fd = backend ? pair->backend.fd : -1, .events = backend },
	};

	pthread_mutex_unlock(&pair->lock);
	poll(places, sizeof places / sizeof places[0], timeout);
	for (int i = 0; i < 3; i++) {
		if (places[i].revents & POLLIN)
			drain(places[i].fd);
	}
	pthread_mutex_lock(&pair->lock);
	if (places[3].revents & (POLLIN | POLLERR | POLLHUP))
		pair->readable = true;
	if (pair->transmitting)
		molt_queue_disable_notifications(pair->transmit);
	if (pair->receiving)
		molt_queue_disable_notifications(pair->receive);
}

static void *work(void *argument)
{
	struct molt_net_pair *pair = argument;

	pthread_mutex_lock(&pair->lock);
	while (!pair->ending) {
		bool moved = false;

		if (!pair->receiving && !pair->transmitting) {
			pthread_cond_wait(&pair->work, &pair->lock);
			continue;
		}
		if (pair->transmitting)
			moved |= transmit(pair);
		if (pair->receiving)
			moved |= receive(pair);
		if (!moved)
			wait_for_work(pair);
		while (atomic_load(&pair->claims) > 0) {
			pthread_mutex_unlock(&pair->lock);
			sched_yield();
			pthread_mutex_lock(&pair->lock);
		}
	}
	pthread_mutex_unlock(&pair->lock);
	return NULL;
}

int molt_net_pair_create(struct molt_net_pair **created, struct molt_net_device *device,
			 struct molt_queue *receive, struct molt_queue *transmit,
			 const int32_t *kicks)
{
	struct molt_net_pair *pair = calloc(1, sizeof *pair);
	int error;

	if (!pair)
		return -ENOMEM;
	pair->device = device;
	pair->receive = receive;
	pair->transmit = transmit;
	pair->receive_kick = kicks[0];
	pair->transmit_kick = kicks[1];
	pair->backend.fd = -1;
	pair->backend.attention = device->attention;
	pair->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pair->wake < 0) {
		error = -errno;
		free(pair);
		return error;
	}
	pthread_mutex_init(&pair->lock, NULL);
	pthread_cond_init(&pair->work, NULL);
	error = molt_thread_start(&pair->thread, "virtio-net", work, pair);
	if (error) {
		close(pair->wake);
		free(pair);
		return error;
	}
	*created = pair;
	return 0;
}

void molt_net_pair_destroy(struct molt_net_pair *pair)
{
	molt_net_pair_claim(pair);
	pair->ending = true;
	pthread_cond_signal(&pair->work);
	molt_net_pair_release(pair);
	pthread_join(pair->thread, NULL);
	pthread_cond_destroy(&pair->work);
	pthread_mutex_destroy(&pair->lock);
	close(pair->wake);
	free(pair);
}

void molt_net_pair_claim(struct molt_net_pair *pair)
{
	atomic_fetch_add(&pair->claims, 1);
	eventfd_write(pair->wake, 1);
	pthread_mutex_lock(&pair->lock);
	atomic_fetch_sub(&pair->claims, 1);
}

void molt_net_pair_release(struct molt_net_pair *pair)
{
	pthread_mutex_unlock(&pair->lock);
}

void molt_net_pair_start_receive(struct molt_net_pair *pair)
{
	pair->receiving = pair->readable = true;
	pthread_cond_signal(&pair->work);
}

void molt_net_pair_start_transmit(struct molt_net_pair *pair)
{
	pair->transmitting = true;
	pthread_cond_signal(&pair->work);
}

/* Gives the driver the frame that waits, if it has buffers now. */
static void deliver_waiting(struct molt_net_pair *pair)
{
	if (!pair->receiving || pair->waiting == 0)
		return;

	enum delivery outcome = deliver(pair);

	if (outcome != NO_BUFFERS)
		pair->waiting = 0;
	if (outcome == DELIVERED)
		molt_queue_notify(pair->receive);
}


void molt_net_pair_stop_receive(struct molt_net_pair *pair, int64_t deadline)
{
	deliver_waiting(pair);
	/* One that still waits is given up for the one after it, which a successor cannot read. */
	if (molt_net_backend_in_frame(&pair->backend)) {
		pair->waiting = molt_net_backend_settle_input(&pair->backend, pair->frame,
							      atomic_load(&pair->device->header),
							      deadline);
		deliver_waiting(pair);
	}
	pair->receiving = false;
}

void molt_net_pair_stop_transmit(struct molt_net_pair *pair, int64_t deadline)
{
	molt_net_backend_settle_output(&pair->backend, deadline);
	pair->transmitting = false;
}
