#ifndef MOLT_WAIT_H
#define MOLT_WAIT_H

#include <stdbool.h>
#include <stdint.h>

/* A descriptor of the epoll set that became ready. */
struct molt_wait_event {
	uint32_t events; /* EPOLLIN, ... */
	uint32_t token; /* as given to molt_epoll_control */
};

#define MOLT_WAIT_EVENTS 64

/* What molt_wait found. */
struct molt_wait_result {
	uint32_t vcpus; /* bit i: vCPU i has parked or exited since the last call */
	struct molt_wait_event events[MOLT_WAIT_EVENTS];
};

struct molt_doorbell;

struct molt_poll;

/*
 * Called by a vCPU thread: vCPU `index` wants the machine's attention. True if that is paid without
 * anybody's having to be woken.
 */
bool molt_doorbell_ring(struct molt_doorbell *doorbell, unsigned int index);

/* What vCPU threads share who look for an answer. */
struct molt_poll *molt_doorbell_poll(struct molt_doorbell *doorbell);

#endif
