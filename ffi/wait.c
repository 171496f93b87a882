/*
 * The machine's one waiting place: vCPU exits and ready descriptors arrive here.
 *
 * A vCPU sets its bit in `vcpus` and wakes whoever sleeps: through the eventfd, which is part of the
 * epoll set (edge-triggered, so it is never read), or through the futex that `vcpus` is. A busy
 * machine therefore costs one epoll_wait an exit and no read.
 *
 * Only the isolate's thread takes things out. The idle wait runs on another thread and only looks, so
 * the isolate may collect vCPUs while one is under way.
 */
#include "molt.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "wait.h"

struct molt_doorbell {
	int epoll;
	int event;
	_Atomic uint32_t vcpus; /* bit i: vCPU i wants attention; also a futex */
	_Atomic uint32_t sleeping; /* somebody sleeps in epoll_wait */
	_Atomic uint32_t collecting; /* somebody sleeps on the futex */
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

	return molt_status(epoll_ctl(doorbell->epoll, operation, fd, &event));
}

/* Wakes whoever waits; the wait returns without an event of its own. Callable from any thread. */
MOLT_EXPORT void molt_doorbell_wake(uint64_t handle)
{
	struct molt_doorbell *doorbell = (void *)(uintptr_t)handle;

	eventfd_write(doorbell->event, 1);
}

void molt_doorbell_ring(struct molt_doorbell *doorbell, unsigned int index)
{
	atomic_fetch_or(&doorbell->vcpus, UINT32_C(1) << index);
	if (atomic_exchange(&doorbell->sleeping, 0))
		eventfd_write(doorbell->event, 1);
	if (atomic_load(&doorbell->collecting))
		syscall(SYS_futex, &doorbell->vcpus, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Sleeps in epoll_wait unless a vCPU has rung already. Returns what epoll_wait does. */
static int sleep_in_epoll(struct molt_doorbell *doorbell, int64_t timeout_us,
			  struct epoll_event *ready, int count)
{
	if (timeout_us != 0) {
		atomic_store(&doorbell->sleeping, 1);
		if (atomic_load(&doorbell->vcpus))
			timeout_us = 0;
	}

	struct timespec timeout = { timeout_us / 1000000, timeout_us % 1000000 * 1000 };
	int found = epoll_pwait2(doorbell->epoll, ready, count, timeout_us < 0 ? NULL : &timeout,
				 NULL);
	int error = errno;

	atomic_store(&doorbell->sleeping, 0);
	errno = error;
	return found;
}

/*
 * Waits until a vCPU wants attention, a descriptor is ready, somebody wakes it, or `timeout_us`
 * microseconds have passed (0: only look). Fills `result` and returns the number of entries in
 * result->events, or -errno. A signal ends the wait early with 0.
 */
MOLT_EXPORT int32_t molt_wait(uint64_t handle, int64_t timeout_us, struct molt_wait_result *result)
{
	struct molt_doorbell *doorbell = (void *)(uintptr_t)handle;
	struct epoll_event ready[MOLT_WAIT_EVENTS];
	int32_t count = 0;
	int found = sleep_in_epoll(doorbell, timeout_us, ready, MOLT_WAIT_EVENTS);

	if (found < 0 && errno != EINTR)
		return -errno;
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

/*
 * Sleeps until molt_wait would find something or somebody wakes it, at most `timeout_us`
 * microseconds (-1: no limit). Takes nothing. For threads other than the isolate's.
 */
MOLT_EXPORT int32_t molt_wait_idle(uint64_t handle, int64_t timeout_us)
{
	struct epoll_event ready;

	return molt_status(sleep_in_epoll((void *)(uintptr_t)handle, timeout_us, &ready, 1));
}

/* Waits until a vCPU wants attention and returns their bits. */
MOLT_EXPORT uint32_t molt_wait_vcpus(uint64_t handle)
{
	struct molt_doorbell *doorbell = (void *)(uintptr_t)handle;
	uint32_t vcpus;

	atomic_store(&doorbell->collecting, 1);
	while ((vcpus = atomic_exchange(&doorbell->vcpus, 0)) == 0)
		syscall(SYS_futex, &doorbell->vcpus, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	atomic_store(&doorbell->collecting, 0);
	return vcpus;
}

/* Does nothing. Awaiting it lets Deno's own loop run once. */
MOLT_EXPORT void molt_yield(void)
{
}
