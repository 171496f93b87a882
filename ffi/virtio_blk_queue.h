#ifndef MOLT_VIRTIO_BLK_QUEUE_H
#define MOLT_VIRTIO_BLK_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "virtio_blk_request.h"

/*
 * A queue of virtio-blk and its workers. One of them is the leader: it takes requests, and waits for the
 * driver's notification when there are none. A request that may take long is begun with the leadership
 * given to another worker, so that the next ones are looked at meanwhile; one that is known to be quick
 * (in the page cache) is done by the leader on the spot, which costs no switch between threads. The
 * driver is interrupted when there is nothing more to do at once, not for each of many quick requests.
 */

#define MOLT_DISK_WORKERS_MAXIMUM 16

/* A request kept after an error until the machine goes on. */
struct molt_disk_kept {
	struct molt_disk_kept *next;
	struct molt_element element;
};

struct molt_disk_worker;

struct molt_disk_queue {
	struct molt_disk *disk;
	struct molt_queue *ring;
	int kick; /* the driver's notifications: a blocking eventfd */
	pthread_mutex_t lock;
	pthread_cond_t work; /* there is something to lead, or it is time to end */
	pthread_cond_t quiet; /* the last request under way is done */
	bool running;
	bool ending;
	bool stopping; /* somebody waits for the end of the requests under way */
	bool led; /* some worker is the leader */
	bool slow_writes; /* the last write took long */
	uint32_t busy; /* workers with a request in hand, or in the ring */
	uint32_t idle; /* workers that wait to lead */
	uint32_t unnotified; /* requests pushed of which the driver was not notified */
	uint32_t count;
	struct molt_disk_kept *kept; /* oldest first */
	struct molt_disk_worker *workers[MOLT_DISK_WORKERS_MAXIMUM];
};

/*
 * Prepares the queue and starts its first worker. `kick`: the descriptor of the driver's notifications,
 * which is made blocking. Returns 0 or -errno; the queue is to be ended either way.
 */
int molt_disk_queue_init(struct molt_disk_queue *queue, struct molt_disk *disk,
			 struct molt_queue *ring, int kick);

/* Ends the workers; nothing is kept. */
void molt_disk_queue_end(struct molt_disk_queue *queue);

/* Lets the queue work; its ring has been started. */
void molt_disk_queue_start(struct molt_disk_queue *queue);

/*
 * Lets the queue take no request any more, and waits until `deadline` (CLOCK_MONOTONIC) for those under way.
 * False: there are still some. The disk's attention is called when they have ended, unless the queue has
 * been started again by then. The file system may keep a request for as long as it likes, so that nobody
 * waits here for its end.
 */
bool molt_disk_queue_stop(struct molt_disk_queue *queue, int64_t deadline);

/* True if requests are under way. */
bool molt_disk_queue_is_busy(struct molt_disk_queue *queue);

/* Appends a request to those kept, which are done first when the queue works again. It is malloc's. */
void molt_disk_queue_keep(struct molt_disk_queue *queue, struct molt_disk_kept *kept);

/* Forgets the requests kept. The queue is stopped. */
void molt_disk_queue_forget(struct molt_disk_queue *queue);

#endif
