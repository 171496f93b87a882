/*
 * A driver sends frames to an echo and compares what comes back, by a stream and by datagrams, while the
 * queues are stopped and started, the cable is unplugged, and the filter changes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../ffi/virtio_net_backend.h"
#include "support/entry_points.h"
#include "support/rings.h"
#include "support/program.h"

#define MEMORY (1 << 20)
#define RECEIVE_RING 0
#define TRANSMIT_RING 8192
#define RECEIVE_BUFFERS 65536
#define TRANSMIT_BUFFERS 524288
#define BUFFER 4096
/* Frames under way. A socket takes that many. */
#define AT_ONCE 8
#define HEADER MOLT_NET_HEADER_MERGED

enum { RECEIVE = 0, TRANSMIT = 1 };

static uint8_t *memory;
static struct ring rings[2];
static struct molt_queue *queues[2];
static uint64_t net;
static uint32_t count;
static _Atomic bool over;
/* Frames may be lost while this is odd or has changed. */
static _Atomic uint32_t unplugged;

/* Gives the device a buffer to receive in: number i, whose head is i as well. */
static void offer(uint32_t i)
{
	struct ring_buffer buffer = { RECEIVE_BUFFERS + i * BUFFER, BUFFER, true };

	check(ring_add(&rings[RECEIVE], &buffer, 1) == i, "buffers come back in another order");
}

/* Sends frame `number`: its content follows from its number. Returns its length. */
static uint32_t make_frame(uint8_t *frame, uint32_t number)
{
	uint32_t length = 64 + number * 37 % 2048;

	memset(frame, 0xff, 6);
	for (uint32_t i = 6; i < length; i++)
		frame[i] = (uint8_t)(number + i * 3);
	memcpy(frame + 16, &number, sizeof number);
	return length;
}

static void send_frame(uint32_t number)
{
	uint64_t address = TRANSMIT_BUFFERS + number % AT_ONCE * BUFFER;
	uint32_t length;

	memset(memory + address, 0, HEADER);
	length = make_frame(memory + address + HEADER, number);

	struct ring_buffer buffer = { address, HEADER + length, false };

	ring_add(&rings[TRANSMIT], &buffer, 1);
	ring_notify(&rings[TRANSMIT]);
}

/* Takes a frame that came, if any. Returns true, its number, and whether it is as it was sent. */
static bool take_frame(uint32_t *number)
{
	struct vring_used_elem element;
	uint8_t expected[BUFFER];

	if (!ring_take(&rings[RECEIVE], &element))
		return false;

	uint32_t place = element.id;
	const uint8_t *frame = memory + RECEIVE_BUFFERS + place * BUFFER + HEADER;

	memcpy(number, frame + 16, sizeof *number);

	uint32_t length = make_frame(expected, *number);

	check(element.len == HEADER + length && memcmp(frame, expected, length) == 0,
	      "frame %u came back damaged", *number);
	offer(place);
	ring_notify(&rings[RECEIVE]);
	return true;
}

/* Sends frames and waits for each group of them; those lost on the way are allowed for. */
static void *drive(void *argument)
{
	uint32_t number = 0, sent = 0, came = 0;

	(void)argument;
	while (number < count) {
		uint32_t before = atomic_load(&unplugged);
		uint32_t group = 1 + random_below(AT_ONCE), back = 0, frame;

		for (uint32_t i = 0; i < group; i++)
			send_frame(number++);
		for (uint32_t i = 0; i < group; i++)
			ring_await(&rings[TRANSMIT]);
		sent += group;
		for (uint32_t look = 0; back < group; look++) {
			if (take_frame(&frame)) {
				back += frame >= number - group;
				came++;
			} else if (look > 2000 && (before % 2 || atomic_load(&unplugged) != before)) {
				break; /* it was lost while the cable was unplugged */
			} else {
				usleep(look < 100 ? 0 : 50);
			}
		}
	}
	check(came > 0 && came <= sent, "%u of %u frames came back", came, sent);
	atomic_store(&over, true);
	return NULL;
}

/* The other side: sends back what comes. */
static void *echo(void *argument)
{
	int fd = *(int *)argument;
	static uint8_t buffer[65536];
	struct pollfd place = { .fd = fd, .events = POLLIN };

	while (!atomic_load(&over)) {
		if (poll(&place, 1, 10) <= 0)
			continue;

		ssize_t got = recv(fd, buffer, sizeof buffer, 0);

		for (ssize_t done = 0; done < got;) {
			ssize_t put = send(fd, buffer + done, (size_t)(got - done), MSG_NOSIGNAL);

			check(put > 0, "send: %s", strerror(errno));
			done += put;
		}
	}
	return NULL;
}

static void start(uint32_t index, uint32_t position)
{
	struct molt_queue_setup setup = ring_setup(&rings[index], position);

	check(molt_queue_start(queues[index], &setup) == 0, "queue %u: fault %u", index,
	      molt_queue_fault(queues[index]));
	molt_net_start(net, index);
}

static uint32_t stop(uint32_t index)
{
	struct timespec now;

	/* The echo never stops within a frame for that long. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	molt_net_stop(net, index, (now.tv_sec + 60) * 1000000000);
	check(molt_queue_fault(queues[index]) == 0, "queue %u: fault %u", index,
	      molt_queue_fault(queues[index]));

	uint32_t position = molt_queue_last_available(queues[index]);

	molt_queue_stop(queues[index]);
	return position;
}

/* What the machine's thread does to a network card. */
static void disturb(void)
{
	uint32_t index = random_below(2);
	struct molt_net_filter filter = { .promiscuous = (uint8_t)random_below(2) };

	switch (random_below(8)) {
	case 0:
		molt_net_set_filter(net, &filter);
		break;
	case 1:
		atomic_fetch_add(&unplugged, 1);
		molt_net_set_link(net, 0);
		dither();
		molt_net_set_link(net, 1);
		atomic_fetch_add(&unplugged, 1);
		break;
	case 2:
		check(!molt_net_lost(net, 0), "the stream's other side is lost");
		break;
	case 3:
	case 4: {
		uint32_t position = stop(index);

		dither();
		start(index, position);
		break;
	}
	default:
		usleep(random_below(500));
	}
}

static void run(enum molt_net_backend_kind kind, int type)
{
	uint64_t handle, interrupt = (uint64_t)molt_interrupt_create(-1, -1, -1, 0);
	struct molt_memory_region region = { 0, MEMORY, (uint64_t)(uintptr_t)memory };
	int attention = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int ends[2];
	int32_t kicks[2];
	pthread_t driver, peer;

	check(socketpair(AF_UNIX, type, 0, ends) == 0, "socketpair: %s", strerror(errno));
	memset(memory, 0, RECEIVE_BUFFERS);
	handle = (uint64_t)molt_memory_create(&region, 1);
	for (uint32_t i = 0; i < 2; i++) {
		ring_init(&rings[i], memory, i == RECEIVE ? RECEIVE_RING : TRANSMIT_RING,
			  kind == MOLT_NET_STREAM, false);
		queues[i] = queue_of(handle, interrupt);
		kicks[i] = rings[i].kick;
	}
	net = (uint64_t)molt_net_create((const uint64_t *)queues, kicks, 1, attention);
	molt_net_connect(net, 0, kind, ends[0], NULL, 0);
	molt_net_negotiate(net, HEADER, 1);
	for (uint32_t i = 0; i < RING_SIZE; i++)
		offer(i);
	start(RECEIVE, 0);
	start(TRANSMIT, 0);
	atomic_store(&over, false);
	pthread_create(&peer, NULL, echo, &ends[1]);
	pthread_create(&driver, NULL, drive, NULL);
	while (!atomic_load(&over))
		disturb();
	pthread_join(driver, NULL);
	pthread_join(peer, NULL);
	stop(RECEIVE);
	stop(TRANSMIT);
	molt_net_destroy(net);
	for (uint32_t i = 0; i < 2; i++) {
		molt_queue_destroy(queues[i]);
		close(rings[i].kick);
		close(ends[i]);
	}
	close(attention);
	molt_memory_destroy(handle);
	molt_interrupt_destroy(interrupt);
}

int main(int argc, char **argv)
{
	count = rounds(argc, argv, 2000);
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(memory != MAP_FAILED, "mmap: %s", strerror(errno));
	set_limit(120, "a frame of a stream");
	run(MOLT_NET_STREAM, SOCK_STREAM | SOCK_CLOEXEC);
	set_limit(120, "a datagram");
	run(MOLT_NET_DATAGRAM, SOCK_DGRAM | SOCK_CLOEXEC);
	printf("network_pair: %u frames by each\n", count);
	return 0;
}
