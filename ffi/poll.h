#ifndef MOLT_POLL_H
#define MOLT_POLL_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/*
 * Looking for something for a while before sleeping for it, as KVM's halt polling does
 * (Documentation/virt/kvm/halt-polling.rst). Waking a thread costs 10 us and more, what is seen without
 * that is seen within 1.
 *
 * Who looks takes processor time that others may need, and is scheduled as one that needs it himself. So
 * whatever time looking is seen to cost, nobody looks for MOLT_POLL_REST times as long afterwards: on a host
 * with more threads that want to run than processors, next to nobody looks.
 */
#define MOLT_POLL_REST 64
#define MOLT_POLL_LONGEST_REST_NS 500000000
/* Two looks at the clock are further apart only if something else ran between them. */
#define MOLT_POLL_GAP_NS 20000

/* Shared by all who look. All zeros in the beginning. */
struct molt_poll {
	_Atomic uint64_t resting; /* nobody looks until then; CLOCK_MONOTONIC in ns */
};

/* A processor, where somebody was last. Zero: nobody knows. */
typedef _Atomic int32_t molt_place;

/* This thread is at its processor now. */
static inline void molt_place_note(molt_place *place)
{
	atomic_store_explicit(place, sched_getcpu() + 1, memory_order_relaxed);
}

/* Whether this thread has the processor that somebody else would need: looking for him is in vain. */
static inline bool molt_place_is_here(molt_place *place)
{
	return atomic_load_explicit(place, memory_order_relaxed) == sched_getcpu() + 1;
}

/* One wait. Times are CLOCK_MONOTONIC's, in ns. */
struct molt_poll_wait {
	struct molt_poll *poll;
	uint64_t start;
	uint64_t now;
	uint64_t end; /* of looking */
};

/* CLOCK_MONOTONIC in ns. */
static inline uint64_t molt_poll_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Looking took `lost` ns in which there was nothing to see, or others ran. */
static inline void molt_poll_lost(struct molt_poll *poll, uint64_t now, uint64_t lost)
{
	uint64_t rest = lost * MOLT_POLL_REST;
	uint64_t until = now + (rest < MOLT_POLL_LONGEST_REST_NS ? rest : MOLT_POLL_LONGEST_REST_NS);

	/* Of two who say so at once either may win. */
	if (atomic_load_explicit(&poll->resting, memory_order_relaxed) < until)
		atomic_store_explicit(&poll->resting, until, memory_order_relaxed);
}

/* A wait begins, in which looking may take `window` ns. */
static inline struct molt_poll_wait molt_poll_begin(struct molt_poll *poll, uint64_t window)
{
	uint64_t now = molt_poll_now();
	bool rests = now < atomic_load_explicit(&poll->resting, memory_order_relaxed);

	return (struct molt_poll_wait){
		.poll = poll, .start = now, .now = now, .end = rests ? now : now + window
	};
}

/* Whether to look once more; false: sleep. */
static inline bool molt_poll_again(struct molt_poll_wait *wait)
{
	if (wait->now >= wait->end)
		return false;
	__builtin_ia32_pause();

	uint64_t now = molt_poll_now();

	if (now - wait->now > MOLT_POLL_GAP_NS)
		molt_poll_lost(wait->poll, now, now - wait->now);
	wait->now = now;
	return true;
}

#endif
