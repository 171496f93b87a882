/*
 * virtio-net (Virtual I/O Device specification 1.2, chapter 5.1) without TypeScript: frames move between
 * pairs of queues (virtio_net_pair.h) and the host's side (virtio_net_backend.h) on threads. This is
 * how TypeScript sets the device up.
 */
#include "molt.h"

#include <stdlib.h>

#include "virtio_net_pair.h"

struct net {
	struct molt_net_device device;
	uint32_t count;
	struct molt_net_pair *pairs[];
};

static struct molt_net_pair *pair_of(uint64_t handle, uint32_t index)
{
	return ((struct net *)(uintptr_t)handle)->pairs[index];
}

/* Ends the threads and frees the device. The host's descriptors stay open. */
MOLT_EXPORT void molt_net_destroy(uint64_t handle)
{
	struct net *net = (void *)(uintptr_t)handle;

	for (uint32_t i = 0; i < net->count; i++)
		molt_net_pair_destroy(net->pairs[i]);
	pthread_mutex_destroy(&net->device.filter_lock);
	free(net);
}

/*
 * A device with `count` pairs of queues. `rings` and `kicks`: for each pair the receive queue and the
 * transmit queue, and the descriptors of their notifications, non-blocking. Faults and lost connections
 * are reported by the eventfd `attention`. Nothing moves before queues are started. Returns its handle.
 */
MOLT_EXPORT int64_t molt_net_create(const uint64_t *rings, const int32_t *kicks, uint32_t count,
				    int32_t attention)
{
	struct net *net = calloc(1, sizeof *net + count * sizeof net->pairs[0]);

	if (!net)
		return -ENOMEM;
	net->device.attention = attention;
	atomic_store(&net->device.header, MOLT_NET_HEADER_PLAIN);
	atomic_store(&net->device.link, true);
	net->device.filter.promiscuous = 1;
	pthread_mutex_init(&net->device.filter_lock, NULL);
	for (uint32_t i = 0; i < count; i++) {
		int error = molt_net_pair_create(&net->pairs[i], &net->device,
						 (void *)(uintptr_t)rings[2 * i],
						 (void *)(uintptr_t)rings[2 * i + 1],
						 &kicks[2 * i]);

		if (error) {
			molt_net_destroy((uint64_t)(uintptr_t)net);
			return error;
		}
		net->count = i + 1;
	}
	return (int64_t)(uintptr_t)net;
}

/*
 * Connects pair `index` to the host: `kind` is an enum molt_net_backend_kind, `fd` stays the caller's
 * and is non-blocking, `peer` the address that datagrams go to (length 0: the socket is connected).
 */
MOLT_EXPORT void molt_net_connect(uint64_t handle, uint32_t index, uint32_t kind, int32_t fd,
				  const void *peer, uint32_t peer_length)
{
	struct molt_net_pair *pair = pair_of(handle, index);

	molt_net_pair_claim(pair);
	molt_net_backend_connect(&pair->backend, kind, fd, peer, peer_length);
	pair->readable = true;
	molt_net_pair_release(pair);
}

/* Bytes of the driver's header, and whether a frame may use several buffers. No queue may be started. */
MOLT_EXPORT void molt_net_negotiate(uint64_t handle, uint32_t header, uint32_t merged)
{
	struct net *net = (void *)(uintptr_t)handle;

	atomic_store(&net->device.merged, merged != 0);
	if (atomic_exchange(&net->device.header, header) == header)
		return;
	/* A frame that waits has the other header. */
	for (uint32_t i = 0; i < net->count; i++) {
		molt_net_pair_claim(net->pairs[i]);
		net->pairs[i]->waiting = 0;
		molt_net_pair_release(net->pairs[i]);
	}
}

MOLT_EXPORT void molt_net_set_filter(uint64_t handle, const struct molt_net_filter *filter)
{
	struct molt_net_device *device = &((struct net *)(uintptr_t)handle)->device;

	pthread_mutex_lock(&device->filter_lock);
	device->filter = *filter;
	if (device->filter.entries > MOLT_NET_FILTER_ENTRIES)
		device->filter.entries = MOLT_NET_FILTER_ENTRIES;
	pthread_mutex_unlock(&device->filter_lock);
}

/* Whether the cable is plugged: without, frames of both directions are lost. */
MOLT_EXPORT void molt_net_set_link(uint64_t handle, uint32_t up)
{
	atomic_store(&((struct net *)(uintptr_t)handle)->device.link, up != 0);
}

/* Queue `index` (even: receive, odd: transmit), whose rings were found, works from now on. */
MOLT_EXPORT void molt_net_start(uint64_t handle, uint32_t index)
{
	struct molt_net_pair *pair = pair_of(handle, index / 2);

	molt_net_pair_claim(pair);
	if (index % 2 == 0)
		molt_net_pair_start_receive(pair);
	else
		molt_net_pair_start_transmit(pair);
	molt_net_pair_release(pair);
}

/*
 * Queue `index` does not work any more when the call returns. The other side of a stream has until
 * `deadline` (ns of CLOCK_MONOTONIC) to give or take the rest of a frame; otherwise it is disconnected.
 */
MOLT_EXPORT void molt_net_stop(uint64_t handle, uint32_t index, int64_t deadline)
{
	struct molt_net_pair *pair = pair_of(handle, index / 2);

	molt_net_pair_claim(pair);
	if (index % 2 == 0)
		molt_net_pair_stop_receive(pair, deadline);
	else
		molt_net_pair_stop_transmit(pair, deadline);
	molt_net_pair_release(pair);
}

/*
 * Sends a frame of the device's own to pair 0's host side, as if the driver had, without a header.
 * Returns 0, or -EAGAIN: the other side has no room. Without a link the frame is lost.
 */
MOLT_EXPORT int32_t molt_net_send(uint64_t handle, void *frame, uint32_t length)
{
	static uint8_t no_offload[MOLT_NET_HEADER_MERGED];
	struct molt_net_pair *pair = pair_of(handle, 0);
	bool sent = true;

	molt_net_pair_claim(pair);

	bool header = pair->backend.kind == MOLT_NET_TAP;
	struct iovec iov[] = {
		{ no_offload, header ? atomic_load(&pair->device->header) : 0 },
		{ frame, length },
	};

	if (atomic_load(&pair->device->link) && !pair->backend.lost)
		sent = molt_net_backend_send(&pair->backend, iov, 2);
	molt_net_pair_release(pair);
	return sent ? 0 : -EAGAIN;
}

/* Whether the peer of pair `index`'s stream has disconnected. */
MOLT_EXPORT int32_t molt_net_lost(uint64_t handle, uint32_t index)
{
	struct molt_net_pair *pair = pair_of(handle, index);

	molt_net_pair_claim(pair);

	int32_t lost = pair->backend.lost;

	molt_net_pair_release(pair);
	return lost;
}
