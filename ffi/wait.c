/*
 * The machine's one waiting place: vCPU exits and ready descriptors arrive here.
 *
 * A vCPU sets its bit in `vcpus` and wakes whoever sleeps: through the eventfd, which is part of the
 * epoll set (edge-triggered, so it is never read), or through the futex that `vcpus` is. A busy
 * machine therefore costs one epoll_wait an exit and no read.
 *
 * Only the isolate's thread takes things out. The idle wait runs on another thread and only looks, so
 * the isolate may collect vCPUs while one is under way.
 *
 * A vCPU that configures a device comes back within microseconds: the isolate looks for it before it
 * sleeps, if that has paid lately (poll.h). Then it makes no system call at all, but once in LOOK_NS, so
 * that descriptors get their turn.
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

#include "poll.h"
#include "wait.h"

/* How long descriptors may be left aside for vCPUs that come one after the other. */
#define LOOK_NS 100000

/* How long the isolate looks for a vCPU, and after what time one has come soon: two threads were woken. */
#define FIRST_WINDOW_NS 10000
#define LONGEST_WINDOW_NS 40000
#define SOON_NS 100000

struct molt_doorbell {
	int epoll;
	int event;
	_Atomic uint32_t vcpus; /* bit i: vCPU i wants attention; also a futex */
	_Atomic uint32_t sleeping; /* somebody sleeps in epoll_wait */
	_Atomic uint32_t collecting; /* somebody sleeps on the futex */
	_Atomic uint32_t attended; /* the isolate serves vCPUs, or looks for them */
	molt_place isolate; /* where the isolate last waited */
	molt_place vcpu; /* where the last vCPU that rang did */
	struct molt_poll poll;
	uint64_t window; /* ns that the isolate looks for vCPUs before it sleeps */
	uint64_t looked; /* when the isolate last looked at descriptors; CLOCK_MONOTONIC in ns */
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

bool molt_doorbell_ring(struct molt_doorbell *doorbell, unsigned int index)
{
	atomic_fetch_or(&doorbell->vcpus, UINT32_C(1) << index);
	molt_place_note(&doorbell->vcpu);

	bool awake = atomic_load(&doorbell->attended) && !molt_place_is_here(&doorbell->isolate);

	if (atomic_load(&doorbell->sleeping) && atomic_exchange(&doorbell->sleeping, 0)) {
		eventfd_write(doorbell->event, 1);
		awake = false;
	}
	if (atomic_load(&doorbell->collecting)) {
		syscall(SYS_futex, &doorbell->vcpus, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		awake = false;
	}
	return awake;
}

struct molt_poll *molt_doorbell_poll(struct molt_doorbell *doorbell)
{
	return &doorbell->poll;
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
 * The isolate has slept for a vCPU, `waited` ns after it began to wait. If one came soon, it looks for the
 * next one before it sleeps, and longer each time; if none came, the guest is at rest.
 */
static void adapt_window(struct molt_doorbell *doorbell, uint64_t waited)
{
	if (atomic_load(&doorbell->vcpus) == 0 || waited > SOON_NS)
		doorbell->window = 0;
	else if (doorbell->window == 0)
		doorbell->window = FIRST_WINDOW_NS;
	else if (doorbell->window < LONGEST_WINDOW_NS)
		doorbell->window *= 2;
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
	int found = 0;
	bool looks = timeout_us != 0 && !molt_place_is_here(&doorbell->vcpu);
	struct molt_poll_wait wait = molt_poll_begin(&doorbell->poll, looks ? doorbell->window : 0);
	bool seen;

	atomic_store(&doorbell->attended, 1);
	do
		seen = atomic_load(&doorbell->vcpus) != 0;
	while (!seen && molt_poll_again(&wait));
	if (!seen || wait.now - doorbell->looked > LOOK_NS) {
		found = sleep_in_epoll(doorbell, seen ? 0 : timeout_us, ready, MOLT_WAIT_EVENTS);
		if (found < 0 && errno != EINTR) {
			found = -errno;
			atomic_store(&doorbell->attended, 0);
			return found;
		}
		doorbell->looked = wait.now;
	}
	molt_place_note(&doorbell->isolate);
	if (!seen && timeout_us != 0)
		adapt_window(doorbell, molt_poll_now() - wait.start);
	result->vcpus = atomic_exchange(&doorbell->vcpus, 0);
	for (int i = 0; i < found; i++) {
		if (ready[i].data.u64 == DOORBELL_TOKEN)
			continue;
		result->events[count].events = ready[i].events;
		result->events[count].token = (uint32_t)ready[i].data.u64;
		count++;
	}
	if (result->vcpus == 0)
		atomic_store(&doorbell->attended, 0);
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
