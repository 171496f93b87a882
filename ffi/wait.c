/*
 * The machine's one waiting place: vCPU exits and ready descriptors arrive here.
 *
 * A vCPU sets its bit and, only if somebody sleeps, writes the doorbell's eventfd, which is part of
 * the epoll set (edge-triggered, so it is never read). A busy machine therefore costs one epoll_wait
 * an exit and no read.
 */
#include "molt.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "wait.h"

struct molt_doorbell {
	int epoll;
	int event;
	_Atomic uint32_t sleeping;
	_Atomic uint64_t vcpus;
};

#define DOORBELL_TOKEN UINT32_MAX

/* Creates an epoll set with a doorbell in it. Returns its handle, or -errno. */
MOLT_EXPORT int64_t molt_doorbell_create(void)
{
	struct molt_doorbell *doorbell = calloc(1, sizeof *doorbell);

	if (!doorbell)
		return -ENOMEM;
	doorbell->epoll = epoll_create1(EPOLL_CLOEXEC);
	doorbell->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u64 = DOORBELL_TOKEN };

	if (doorbell->epoll < 0 || doorbell->event < 0 ||
	    epoll_ctl(doorbell->epoll, EPOLL_CTL_ADD, doorbell->event, &event) < 0) {
		int64_t error = -errno;

		if (doorbell->epoll >= 0)
			close(doorbell->epoll);
		if (doorbell->event >= 0)
			close(doorbell->event);
		free(doorbell);
		return error;
	}
	return (int64_t)(uintptr_t)doorbell;
}

/* Frees the doorbell. No vCPU may use it any more and nobody may wait on it. */
MOLT_EXPORT void molt_doorbell_destroy(uint64_t handle)
{
	struct molt_doorbell *doorbell = (void *)(uintptr_t)handle;

	close(doorbell->epoll);
	close(doorbell->event);
	free(doorbell);
}

/* Adds (operation 1), changes (3) or removes (2) `fd` in the epoll set: EPOLL_CTL_*. */
MOLT_EXPORT int32_t molt_epoll_control(uint64_t handle, int32_t operation, int32_t fd,
				       uint32_t events, uint32_t token)
{
	struct molt_doorbell *doorbell = (void *)(uintptr_t)handle;
	struct epoll_event event = { .events = events, .data.u64 = token };

	return (int32_t)molt_result(epoll_ctl(doorbell->epoll, operation, fd, &event));
}

/* Wakes whoever waits; the wait returns without an event of its own. Callable from any thread. */
MOLT_EXPORT void molt_doorbell_wake(uint64_t handle)
{
	struct molt_doorbell *doorbell = (void *)(uintptr_t)handle;

	eventfd_write(doorbell->event, 1);
}

void molt_doorbell_ring(struct molt_doorbell *doorbell, unsigned int index)
{
	atomic_fetch_or(&doorbell->vcpus, UINT64_C(1) << index);
	if (atomic_exchange(&doorbell->sleeping, 0))
		eventfd_write(doorbell->event, 1);
}

/*
 * Waits until a vCPU wants attention, a descriptor is ready, somebody wakes it, or `timeout_us`
 * microseconds have passed (-1: no limit, 0: only look). Fills `result` and returns the number of
 * entries in result->events, or -errno. A signal ends the wait early with 0.
 */
MOLT_EXPORT int32_t molt_wait(uint64_t handle, int64_t timeout_us, struct molt_wait_result *result)
{
	struct molt_doorbell *doorbell = (void *)(uintptr_t)handle;
	struct epoll_event ready[MOLT_WAIT_EVENTS];
	int32_t count = 0;

	if (timeout_us != 0) {
		atomic_store(&doorbell->sleeping, 1);
		if (atomic_load(&doorbell->vcpus))
			timeout_us = 0;
	}

	struct timespec timeout = { timeout_us / 1000000, timeout_us % 1000000 * 1000 };
	int found = epoll_pwait2(doorbell->epoll, ready, MOLT_WAIT_EVENTS,
				 timeout_us < 0 ? NULL : &timeout, NULL);

	if (found < 0 && errno != EINTR) {
		int32_t error = -errno;

		atomic_store(&doorbell->sleeping, 0);
		return error;
	}
	atomic_store(&doorbell->sleeping, 0);
	result->vcpus = atomic_exchange(&doorbell->vcpus, 0);
	for (int i = 0; i < found; i++) {
		if (ready[i].data.u64 == DOORBELL_TOKEN)
			continue;
		result->events[count].events = ready[i].events;
		result->events[count].token = (uint32_t)ready[i].data.u64;
		count++;
	}
	return count;
}
