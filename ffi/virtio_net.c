/*
 * The frames of virtio-net (Virtual I/O Device specification 1.2, chapter 5.1) between a pair of queues and
 * the host's side, without TypeScript. The host's side is a tap interface, whose frames may have a virtio
 * header, so that checksums and segmentation are left to who does them best; or a stream socket (a
 * big-endian length of 32 bits before each frame) or a datagram socket, without header.
 *
 * Each pair has a thread:
 *
 *   transmit: request -> writev             until the queue is empty or the host's side is full
 *   receive:  read -> filter -> buffers     until nothing comes or the driver has no buffers
 *   neither moved: sleep until a descriptor says that one can
 */
#include "molt.h"

#include <endian.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virtio_queue.h"

#define ADDRESS_LENGTH 6
#define ETHERNET_HEADER 14
#define FILTER_ENTRIES 64
/* The largest frame with header, and room for the length of a stream's. */
#define FRAME_MAXIMUM (65536 + 4096)
#define STREAM_PREFIX 4
/* Frames in one direction before the other has its turn. */
#define BURST 64
/* The header of drivers that know nothing of merged buffers, and of all others. */
#define HEADER_PLAIN sizeof(struct virtio_net_hdr)
#define HEADER_MERGED sizeof(struct virtio_net_hdr_mrg_rxbuf)
/* ms that the other side of a stream may take for the rest of a frame. */
#define SETTLE_TIME 1000
/* ms until a datagram is tried again that found no room. */
#define FULL_TIME 1

enum backend_kind {
	BACKEND_NONE = 0,
	BACKEND_TAP = 1,
	BACKEND_STREAM = 2,
	BACKEND_DATAGRAM = 3,
	BACKEND_PLAIN_TAP = 4, /* frames have no header */
};

/* Which frames the driver wants; TypeScript fills it from the control queue. */
struct molt_net_filter {
	uint8_t address[ADDRESS_LENGTH];
	uint8_t promiscuous;
	uint8_t all_multicast;
	uint8_t all_unicast;
	uint8_t no_multicast;
	uint8_t no_unicast;
	uint8_t no_broadcast;
	uint32_t unicast; /* entries of the table that are unicast; they come first */
	uint32_t entries;
	uint8_t table[FILTER_ENTRIES][ADDRESS_LENGTH];
	uint8_t vlans[512]; /* bit v % 8 of byte v / 8 */
};
_Static_assert(sizeof(struct molt_net_filter) == 916, "src/native/network.ts lays it out");

struct pair {
	struct net *net;
	struct molt_queue *receive;
	struct molt_queue *transmit;
	int receive_kick; /* the driver's notifications */
	int transmit_kick;
	int wake; /* eventfd: look at what has changed */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work;
	_Atomic uint32_t claims; /* who wants the lock before the next burst */
	bool ending;
	bool receiving; /* the queue is started */
	bool transmitting;
	enum backend_kind kind;
	int fd;
	bool lost; /* the other side of a stream has gone */
	bool starved; /* a frame waits for buffers */
	bool blocked; /* the host's side takes no more */
	struct sockaddr_storage peer;
	uint32_t peer_length;
	uint32_t waiting; /* length of the frame in `frame`, header included; 0: none */
	bool readable; /* the host's side may have a frame */
	uint32_t prefixed; /* bytes of a stream's `prefix` that have come */
	uint32_t received; /* bytes of its frame that have, in `frame` */
	uint32_t followed; /* bytes of `following` that have: the next frame's prefix */
	uint8_t prefix[STREAM_PREFIX];
	uint8_t following[STREAM_PREFIX];
	uint32_t unsent; /* bytes of `output` that a stream has not taken */
	uint32_t sent; /* bytes of it that it has */
	uint8_t frame[FRAME_MAXIMUM];
	uint8_t output[STREAM_PREFIX + FRAME_MAXIMUM];
	struct molt_element element;
	struct iovec scratch[MOLT_QUEUE_MAXIMUM];
};

struct net {
	int attention; /* eventfd: TypeScript is to look */
	_Atomic uint32_t header; /* bytes before each frame in the queues, and at a tap */
	_Atomic bool merged; /* a frame may use several buffers */
	_Atomic bool link;
	pthread_mutex_t filter_lock;
	struct molt_net_filter filter;
	uint32_t count;
	struct pair *pairs[];
};

static bool is_full(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS || error == EINTR;
}

static bool matches(const struct molt_net_filter *filter, const uint8_t *address, uint32_t first,
		    uint32_t end)
{
	for (uint32_t i = first; i < end; i++) {
		if (memcmp(filter->table[i], address, ADDRESS_LENGTH) == 0)
			return true;
	}
	return false;
}

static bool passes(const struct molt_net_filter *filter, const uint8_t *frame, uint32_t length)
{
	static const uint8_t broadcast[ADDRESS_LENGTH] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	if (filter->promiscuous)
		return true;
	if (frame[12] == 0x81 && frame[13] == 0x00 && length >= ETHERNET_HEADER + 4) {
		uint32_t vlan = (uint32_t)(frame[14] << 8 | frame[15]) & 0xfff;

		if (!(filter->vlans[vlan / 8] & 1 << vlan % 8))
			return false;
	}
	if (memcmp(frame, broadcast, ADDRESS_LENGTH) == 0)
		return !filter->no_broadcast;
	if (frame[0] & 1)
		return !filter->no_multicast &&
		       (filter->all_multicast ||
			matches(filter, frame, filter->unicast, filter->entries));
	return !filter->no_unicast &&
	       (filter->all_unicast || memcmp(frame, filter->address, ADDRESS_LENGTH) == 0 ||
		matches(filter, frame, 0, filter->unicast));
}

static bool wanted(struct net *net, const uint8_t *frame, uint32_t length)
{
	if (length < ETHERNET_HEADER)
		return false;
	pthread_mutex_lock(&net->filter_lock);

	bool pass = atomic_load(&net->link) && passes(&net->filter, frame, length);

	pthread_mutex_unlock(&net->filter_lock);
	return pass;
}

static void lose(struct pair *pair)
{
	pair->lost = true;
	eventfd_write(pair->net->attention, 1);
}

/*
 * Reads on in a stream, up to the end of the current frame and the length of the next one: nothing that
 * a successor on the same connection could miss. Returns the frame's length, 0: it is not complete.
 */
static uint32_t read_stream(struct pair *pair, uint32_t header, bool next)
{
	for (;;) {
		uint32_t length = 0;

		if (pair->prefixed == STREAM_PREFIX) {
			memcpy(&length, pair->prefix, sizeof length);
			length = be32toh(length);
			if (length > FRAME_MAXIMUM - HEADER_MERGED) {
				lose(pair); /* nobody knows where the next one starts */
				return 0;
			}
			if (pair->received == length) {
				pair->received = 0;
				memcpy(pair->prefix, pair->following, STREAM_PREFIX);
				pair->prefixed = pair->followed;
				pair->followed = 0;
				return header + length;
			}
		}

		bool body = pair->prefixed == STREAM_PREFIX;
		struct iovec places[] = {
			{ pair->prefix + pair->prefixed, STREAM_PREFIX - pair->prefixed },
			{ pair->frame + header + pair->received, body ? length - pair->received : 0 },
			{ pair->following, body && next ? STREAM_PREFIX : 0 },
		};
		struct msghdr message = { .msg_iov = places, .msg_iovlen = 3 };
		ssize_t got = recvmsg(pair->fd, &message, MSG_DONTWAIT);

		if (got < 0 && is_full(errno))
			return 0;
		if (got <= 0) {
			lose(pair);
			return 0;
		}
		if (!body) {
			pair->prefixed += (uint32_t)got;
		} else if (pair->received + (uint32_t)got > length) {
			pair->followed = pair->received + (uint32_t)got - length;
			pair->received = length;
		} else {
			pair->received += (uint32_t)got;
		}
	}
}

/* Reads a frame into pair->frame with a header as the driver wants it. Returns its length, 0: none. */
static uint32_t read_frame(struct pair *pair)
{
	uint32_t header = atomic_load(&pair->net->header);
	ssize_t got;

	switch (pair->lost ? BACKEND_NONE : pair->kind) {
	case BACKEND_TAP:
		got = read(pair->fd, pair->frame, sizeof pair->frame);
		if (got < 0 && !is_full(errno))
			lose(pair);
		return got > (ssize_t)header ? (uint32_t)got : 0;
	case BACKEND_PLAIN_TAP:
		memset(pair->frame, 0, header);
		got = read(pair->fd, pair->frame + header, sizeof pair->frame - header);
		if (got < 0 && !is_full(errno))
			lose(pair);
		return got > 0 ? header + (uint32_t)got : 0;
	case BACKEND_STREAM:
		memset(pair->frame, 0, header);
		return read_stream(pair, header, true);
	case BACKEND_DATAGRAM:
		memset(pair->frame, 0, header);
		got = recv(pair->fd, pair->frame + header, sizeof pair->frame - header, MSG_DONTWAIT);
		return got > 0 ? header + (uint32_t)got : 0;
	default:
		return 0;
	}
}

/* Whether the frame went into the driver's buffers. Otherwise it waits, or is given up. */
enum delivery { DELIVERED, NO_BUFFERS, DROPPED, BROKEN };

/* Puts pair->frame into as many buffers as it takes. */
static enum delivery deliver(struct pair *pair)
{
	struct molt_queue *queue = pair->receive;
	uint32_t header = atomic_load(&pair->net->header);
	bool merged = atomic_load(&pair->net->merged);
	struct virtio_net_hdr_mrg_rxbuf head = { 0 };
	struct iovec head_iov[HEADER_MERGED];
	struct molt_buffer head_buffers[HEADER_MERGED];
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
			head_count = element->in_count < HEADER_MERGED ? element->in_count
								       : HEADER_MERGED;
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
	if (header == HEADER_MERGED) {
		head.num_buffers = buffers;
		molt_iov_write(head_iov, head_count, &head, header);
		for (uint32_t i = 0; i < head_count; i++)
			molt_memory_mark(queue->memory, head_buffers[i].address,
					 head_buffers[i].length);
	}
	molt_queue_publish(queue, buffers);
	return DELIVERED;
}

/* Moves frames to the driver. True if any came. */
static bool receive(struct pair *pair)
{
	uint32_t moved = 0;
	bool delivered = false;

	pair->starved = false;
	while (moved < BURST) {
		if (pair->waiting == 0) {
			uint32_t header = atomic_load(&pair->net->header);

			if (!pair->readable)
				break;
			pair->waiting = read_frame(pair);
			if (pair->waiting == 0) {
				pair->readable = false;
				break;
			}
			moved++;
			if (!wanted(pair->net, pair->frame + header, pair->waiting - header)) {
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
			eventfd_write(pair->net->attention, 1);
			return true;
		}
		delivered |= outcome == DELIVERED;
	}
	if (delivered)
		molt_queue_interrupt(pair->receive);
	return moved > 0;
}

/* Sends what a stream did not take before. False: it is still full. */
static bool send_rest(struct pair *pair)
{
	while (pair->unsent > 0) {
		ssize_t put = send(pair->fd, pair->output + pair->sent, pair->unsent,
				   MSG_DONTWAIT | MSG_NOSIGNAL);

		if (put < 0 && is_full(errno))
			return false;
		if (put < 0) {
			pair->unsent = 0;
			lose(pair);
			break;
		}
		pair->sent += (uint32_t)put;
		pair->unsent -= (uint32_t)put;
	}
	return true;
}

/* Sends a frame; `iov` is without header but at a tap. False: the host's side is full. */
static bool send_frame(struct pair *pair, struct iovec *iov, uint32_t count)
{
	uint64_t length;
	uint32_t prefix;
	struct msghdr message = { 0 };

	switch (pair->kind) {
	case BACKEND_TAP:
	case BACKEND_PLAIN_TAP:
		/* What the interface does not like is lost, as on a wire. */
		return writev(pair->fd, iov, (int)count) >= 0 || !is_full(errno);
	case BACKEND_STREAM:
		length = molt_iov_length(iov, count);
		if (!send_rest(pair))
			return false;
		if (pair->lost || length > FRAME_MAXIMUM)
			return true;
		prefix = htobe32((uint32_t)length);
		memcpy(pair->output, &prefix, sizeof prefix);
		molt_iov_read(iov, count, pair->output + STREAM_PREFIX, length);
		pair->sent = 0;
		pair->unsent = STREAM_PREFIX + (uint32_t)length;
		send_rest(pair); /* the rest follows when it can */
		return true;
	case BACKEND_DATAGRAM:
		message.msg_iov = iov;
		message.msg_iovlen = count;
		if (pair->peer_length > 0) {
			message.msg_name = &pair->peer;
			message.msg_namelen = pair->peer_length;
		}
		return sendmsg(pair->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
		       !is_full(errno);
	default:
		return true;
	}
}

/* Moves frames from the driver. True if any went. */
static bool transmit(struct pair *pair)
{
	struct molt_queue *queue = pair->transmit;
	uint32_t header = atomic_load(&pair->net->header);
	uint32_t moved = 0;

	pair->blocked = pair->kind == BACKEND_STREAM && !send_rest(pair);
	while (!pair->blocked && moved < BURST) {
		int outcome = molt_queue_pop(queue, &pair->element);

		if (outcome == 0)
			break;

		const struct molt_element *element = &pair->element;

		if (outcome > 0 && molt_iov_length(element->iov, element->out_count) < header)
			outcome = molt_queue_fail(queue, MOLT_QUEUE_REQUEST);
		if (outcome < 0) {
			pair->transmitting = false;
			eventfd_write(pair->net->attention, 1);
			break;
		}

		struct iovec *iov = pair->scratch;
		uint32_t count = element->out_count;

		memcpy(iov, element->iov, count * sizeof *iov);
		if (pair->kind != BACKEND_TAP)
			count = molt_iov_skip(&iov, count, header);
		if (atomic_load(&pair->net->link) && !send_frame(pair, iov, count)) {
			molt_queue_unpop(queue, 1);
			pair->blocked = true;
			break;
		}
		molt_queue_push(queue, element->head, 0);
		moved++;
	}
	if (moved > 0)
		molt_queue_interrupt(queue);
	return moved > 0;
}

static void drain(int event)
{
	uint64_t count;
	ssize_t got = read(event, &count, sizeof count);

	(void)got; /* it is the waking that counts */
}

/* Sleeps until something can move. The pair is locked, but not while it sleeps. */
static void wait_for_work(struct pair *pair)
{
	bool look_again = false;
	short backend = 0;
	int timeout = -1;

	if (pair->transmitting && !pair->blocked)
		look_again |= molt_queue_enable_notifications(pair->transmit);
	if (pair->receiving && pair->starved)
		look_again |= molt_queue_await_more(pair->receive);
	if (pair->receiving && !pair->starved && !pair->lost)
		backend |= POLLIN;
	if (pair->transmitting && pair->blocked) {
		/* It is the other side's socket that is full, of which ours says nothing. */
		if (pair->kind == BACKEND_DATAGRAM)
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
		{ .fd = backend ? pair->fd : -1, .events = backend },
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
	struct pair *pair = argument;

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

/* Takes the pair's lock, between two bursts of its thread. */
static void claim(struct pair *pair)
{
	atomic_fetch_add(&pair->claims, 1);
	eventfd_write(pair->wake, 1);
	pthread_mutex_lock(&pair->lock);
	atomic_fetch_sub(&pair->claims, 1);
}

static struct pair *pair_of(uint64_t handle, uint32_t index)
{
	return ((struct net *)(uintptr_t)handle)->pairs[index];
}

static int create_pair(struct net *net, uint32_t index, const uint64_t *rings,
		       const int32_t *kicks)
{
	struct pair *pair = calloc(1, sizeof *pair);
	sigset_t blocked, before;

	if (!pair)
		return -ENOMEM;
	pair->net = net;
	pair->fd = -1;
	pair->receive = (void *)(uintptr_t)rings[2 * index];
	pair->transmit = (void *)(uintptr_t)rings[2 * index + 1];
	pair->receive_kick = kicks[2 * index];
	pair->transmit_kick = kicks[2 * index + 1];
	pair->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pair->wake < 0) {
		free(pair);
		return -errno;
	}
	pthread_mutex_init(&pair->lock, NULL);
	pthread_cond_init(&pair->work, NULL);
	/* Signals are Deno's. */
	sigfillset(&blocked);
	pthread_sigmask(SIG_SETMASK, &blocked, &before);

	int error = pthread_create(&pair->thread, NULL, work, pair);

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error) {
		close(pair->wake);
		free(pair);
		return -error;
	}
	pthread_setname_np(pair->thread, "virtio-net");
	net->pairs[index] = pair;
	net->count = index + 1;
	return 0;
}

/* Ends the threads and frees the device. The host's descriptors stay open. */
MOLT_EXPORT void molt_net_destroy(uint64_t handle)
{
	struct net *net = (void *)(uintptr_t)handle;

	for (uint32_t i = 0; i < net->count; i++) {
		struct pair *pair = net->pairs[i];

		claim(pair);
		pair->ending = true;
		pthread_cond_signal(&pair->work);
		pthread_mutex_unlock(&pair->lock);
		pthread_join(pair->thread, NULL);
		pthread_cond_destroy(&pair->work);
		pthread_mutex_destroy(&pair->lock);
		close(pair->wake);
		free(pair);
	}
	pthread_mutex_destroy(&net->filter_lock);
	free(net);
}

/*
 * A device with `count` pairs of queues. `rings` and `kicks`: for each pair the receive queue and the
 * transmit queue, and the descriptors of their notifications, non-blocking. Faults and lost connections
 * are told by the eventfd `attention`. Nothing moves before queues are started. Returns its handle.
 */
MOLT_EXPORT int64_t molt_net_create(const uint64_t *rings, const int32_t *kicks, uint32_t count,
				    int32_t attention)
{
	struct net *net = calloc(1, sizeof *net + count * sizeof net->pairs[0]);

	if (!net)
		return -ENOMEM;
	net->attention = attention;
	atomic_store(&net->header, HEADER_PLAIN);
	atomic_store(&net->link, true);
	net->filter.promiscuous = 1;
	pthread_mutex_init(&net->filter_lock, NULL);
	for (uint32_t i = 0; i < count; i++) {
		int error = create_pair(net, i, rings, kicks);

		if (error) {
			molt_net_destroy((uint64_t)(uintptr_t)net);
			return error;
		}
	}
	return (int64_t)(uintptr_t)net;
}

/*
 * Connects pair `index` to the host: `kind` is an enum backend_kind, `fd` stays the caller's and is
 * non-blocking, `peer` the address that datagrams go to (length 0: the socket is connected).
 */
MOLT_EXPORT void molt_net_connect(uint64_t handle, uint32_t index, uint32_t kind, int32_t fd,
				  const void *peer, uint32_t peer_length)
{
	struct pair *pair = pair_of(handle, index);

	claim(pair);
	pair->kind = kind;
	pair->fd = fd;
	pair->lost = false;
	pair->readable = true;
	pair->prefixed = 0;
	pair->received = 0;
	pair->followed = 0;
	pair->unsent = 0;
	pair->peer_length = peer_length < sizeof pair->peer ? peer_length : 0;
	if (pair->peer_length > 0)
		memcpy(&pair->peer, peer, pair->peer_length);
	pthread_mutex_unlock(&pair->lock);
}

/* Bytes of the driver's header, and whether a frame may use several buffers. No queue may be started. */
MOLT_EXPORT void molt_net_negotiate(uint64_t handle, uint32_t header, uint32_t merged)
{
	struct net *net = (void *)(uintptr_t)handle;

	atomic_store(&net->merged, merged != 0);
	if (atomic_exchange(&net->header, header) == header)
		return;
	/* A frame that waits has the other header. */
	for (uint32_t i = 0; i < net->count; i++) {
		claim(net->pairs[i]);
		net->pairs[i]->waiting = 0;
		pthread_mutex_unlock(&net->pairs[i]->lock);
	}
}

MOLT_EXPORT void molt_net_set_filter(uint64_t handle, const struct molt_net_filter *filter)
{
	struct net *net = (void *)(uintptr_t)handle;

	pthread_mutex_lock(&net->filter_lock);
	net->filter = *filter;
	if (net->filter.entries > FILTER_ENTRIES)
		net->filter.entries = FILTER_ENTRIES;
	pthread_mutex_unlock(&net->filter_lock);
}

/* Whether the cable is plugged: without, frames of both directions are lost. */
MOLT_EXPORT void molt_net_set_link(uint64_t handle, uint32_t up)
{
	atomic_store(&((struct net *)(uintptr_t)handle)->link, up != 0);
}

/* Queue `index` (even: receive, odd: transmit), whose rings were found, works from now on. */
MOLT_EXPORT void molt_net_start(uint64_t handle, uint32_t index)
{
	struct pair *pair = pair_of(handle, index / 2);

	claim(pair);
	if (index % 2 == 0)
		pair->receiving = pair->readable = true;
	else
		pair->transmitting = true;
	pthread_cond_signal(&pair->work);
	pthread_mutex_unlock(&pair->lock);
}

/* Brings a stream to the end of a frame in both directions, so that a successor can go on with it. */
static void settle_stream(struct pair *pair, bool receive)
{
	uint32_t header = atomic_load(&pair->net->header);
	struct pollfd place = { .fd = pair->fd, .events = receive ? POLLIN : POLLOUT };

	while (!pair->lost) {
		if (receive) {
			if (pair->prefixed == 0)
				return;
			pair->waiting = read_stream(pair, header, false);
			if (pair->waiting > 0)
				return;
		} else if (send_rest(pair)) {
			return;
		}
		if (poll(&place, 1, SETTLE_TIME) <= 0)
			lose(pair);
	}
}

/* Gives the driver the frame that waits, if it has buffers now. */
static void deliver_waiting(struct pair *pair)
{
	if (!pair->receiving || pair->waiting == 0)
		return;

	enum delivery outcome = deliver(pair);

	if (outcome != NO_BUFFERS)
		pair->waiting = 0;
	if (outcome == DELIVERED)
		molt_queue_interrupt(pair->receive);
}

/* Queue `index` does not work any more when the call returns. */
MOLT_EXPORT void molt_net_stop(uint64_t handle, uint32_t index)
{
	struct pair *pair = pair_of(handle, index / 2);

	claim(pair);
	if (index % 2 == 0) {
		deliver_waiting(pair);
		/* One that still waits is given up for the one after it, which a successor cannot read. */
		if (pair->kind == BACKEND_STREAM && pair->prefixed > 0) {
			settle_stream(pair, true);
			deliver_waiting(pair);
		}
		pair->receiving = false;
	} else {
		if (pair->kind == BACKEND_STREAM)
			settle_stream(pair, false);
		pair->transmitting = false;
	}
	pthread_mutex_unlock(&pair->lock);
}

/* Whether the other side of pair `index`'s stream has gone. */
MOLT_EXPORT int32_t molt_net_lost(uint64_t handle, uint32_t index)
{
	struct pair *pair = pair_of(handle, index);

	claim(pair);

	int32_t lost = pair->lost;

	pthread_mutex_unlock(&pair->lock);
	return lost;
}
