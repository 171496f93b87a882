#ifndef MOLT_VIRTIO_NET_PAIR_H
#define MOLT_VIRTIO_NET_PAIR_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "virtio_net_backend.h"
#include "virtio_net_filter.h"
#include "virtio_queue.h"

/*
 * A pair of queues of virtio-net and the thread that moves frames between them and the host's side:
 *
 *   transmit: request -> backend            until the queue is empty or the host's side is full
 *   receive:  backend -> filter -> buffers  until nothing comes or the driver has no buffers
 *   neither moved: sleep until a descriptor says that one can
 */

/* What the pairs of a device have in common. */
struct molt_net_device {
	int attention; /* eventfd: TypeScript is to look */
	_Atomic uint32_t header; /* bytes before each frame in the queues, and at a tap */
	_Atomic bool merged; /* a frame may use several buffers */
	_Atomic bool link;
	pthread_mutex_t filter_lock;
	struct molt_net_filter filter;
};

struct molt_net_pair {
	struct molt_net_device *device;
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
	bool starved; /* a frame waits for buffers */
	bool blocked; /* the host's side takes no more */
	bool readable; /* the host's side may have a frame */
	uint32_t waiting; /* length of the frame in `frame`, header included; 0: none */
	struct molt_net_backend backend;
	uint8_t frame[MOLT_NET_FRAME_MAXIMUM];
	struct molt_element element;
	struct iovec scratch[MOLT_QUEUE_MAXIMUM];
};

/* `kicks`: of the receive queue and of the transmit queue. Returns 0 or -errno. */
int molt_net_pair_create(struct molt_net_pair **created, struct molt_net_device *device,
			 struct molt_queue *receive, struct molt_queue *transmit,
			 const int32_t *kicks);

/* Ends the thread. The host's descriptor stays open. */
void molt_net_pair_destroy(struct molt_net_pair *pair);

/* Take the pair from its thread, between two bursts, and give it back. */
void molt_net_pair_claim(struct molt_net_pair *pair);
void molt_net_pair_release(struct molt_net_pair *pair);

/* Start and stop a queue of a pair that is claimed. A stream is left at the end of a frame. */
void molt_net_pair_start_receive(struct molt_net_pair *pair);
void molt_net_pair_start_transmit(struct molt_net_pair *pair);
void molt_net_pair_stop_receive(struct molt_net_pair *pair, int64_t deadline);
void molt_net_pair_stop_transmit(struct molt_net_pair *pair, int64_t deadline);

#endif
