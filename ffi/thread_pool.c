/*
 * Threads of the library's own for calls that may wait for a peer or take long. Deno would run them on a
 * pool of its own that has room for 32 and that the event loop needs as well: 32 peers that are silent
 * would silence the monitors.
 *
 *   molt_pool_call   an idle thread takes the call, or a new one is started: as many as there are calls
 *   (the call returns)   its result is queued, and the eventfd becomes readable
 *   molt_pool_take   hands results out
 *
 * A thread that has had nothing to do for IDLE_SECONDS ends.
 */
#include "molt.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "thread.h"
#include "thread_pool.h"

#define IDLE_SECONDS 5

struct call {
	struct call *next;
	const struct molt_thread_function *function;
	uint64_t arguments[MOLT_CALL_ARGUMENTS];
	struct molt_completion completion;
};

/* Calls in the order in which they came. */
struct calls {
	struct call *first;
	struct call **end;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct calls waiting; /* for a thread that is idle */
	uint32_t waiting_count;
	uint32_t idle;
	struct calls returned;
	int event; /* eventfd: something has returned; -1: not created yet */
} pool = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.waiting.end = &pool.waiting.first,
	.returned.end = &pool.returned.first,
	.event = -1,
};

static void append(struct calls *calls, struct call *call)
{
	call->next = NULL;
	*calls->end = call;
	calls->end = &call->next;
}

static struct call *take(struct calls *calls)
{
	struct call *call = calls->first;

	if (call) {
		calls->first = call->next;
		if (!calls->first)
			calls->end = &calls->first;
	}
	return call;
}

/* Runs a call. The pool is locked, but not meanwhile. */
static void run(struct call *call)
{
	pthread_mutex_unlock(&pool.lock);
	call->completion.result = call->function->call(call->arguments);
	pthread_mutex_lock(&pool.lock);

	bool first = pool.returned.first == NULL;

	append(&pool.returned, call);
	if (first)
		eventfd_write(pool.event, 1);
}

/* The next call for an idle thread; NULL if there is none for a while. The pool is locked. */
static struct call *await_call(void)
{
	struct timespec until;
	int outcome = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_SECONDS;
	pool.idle++;
	while (!pool.waiting.first && outcome == 0)
		outcome = pthread_cond_timedwait(&pool.work, &pool.lock, &until);
	pool.idle--;

	struct call *call = take(&pool.waiting);

	if (call)
		pool.waiting_count--;
	return call;
}

static void *work(void *argument)
{
	pthread_detach(pthread_self());
	pthread_mutex_lock(&pool.lock);
	for (struct call *call = argument; call; call = await_call())
		run(call);
	pthread_mutex_unlock(&pool.lock);
	return NULL;
}

/* Creates what the pool needs once. 0 or -errno. */
static int prepare(void)
{
	pthread_condattr_t attributes;

	if (pool.event >= 0)
		return 0;
	pool.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool.event < 0)
		return -errno;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&pool.work, &attributes);
	pthread_condattr_destroy(&attributes);
	return 0;
}

/*
 * The eventfd that becomes readable when calls have returned: read it, then take them. It stays the
 * library's. -errno if there is none.
 */
MOLT_EXPORT int32_t molt_pool_event(void)
{
	pthread_mutex_lock(&pool.lock);

	int error = prepare();

	pthread_mutex_unlock(&pool.lock);
	return error ? error : pool.event;
}

/* The number of the function `name` for molt_pool_call; -ENOENT if it is none of the pool's. */
MOLT_EXPORT int32_t molt_pool_find(const char *name)
{
	for (uint32_t i = 0; i < molt_thread_function_count; i++)
		if (strcmp(molt_thread_functions[i].name, name) == 0)
			return (int32_t)i;
	return -ENOENT;
}

/*
 * Has a thread call function `index` with `count` arguments, and then hand out the result with `token`.
 * What the arguments point to must stay until then. Returns 0 or -errno: then nothing is called.
 */
MOLT_EXPORT int32_t molt_pool_call(uint32_t index, const uint64_t *arguments, uint32_t count,
				   uint64_t token)
{
	struct call *call;
	pthread_t thread;
	int error = 0;

	if (index >= molt_thread_function_count || count > MOLT_CALL_ARGUMENTS)
		return -EINVAL;
	call = calloc(1, sizeof *call);
	if (!call)
		return -ENOMEM;
	call->function = &molt_thread_functions[index];
	memcpy(call->arguments, arguments, count * sizeof *arguments);
	call->completion.token = token;
	pthread_mutex_lock(&pool.lock);
	error = prepare();
	if (!error && pool.idle > pool.waiting_count) {
		append(&pool.waiting, call);
		pool.waiting_count++;
		pthread_cond_signal(&pool.work);
	} else if (!error) {
		error = molt_thread_start(&thread, "molt-call", work, call);
	}
	pthread_mutex_unlock(&pool.lock);
	if (error)
		free(call);
	return error;
}

/* Moves up to `room` results, the oldest first, to `completions`. Returns how many. */
MOLT_EXPORT uint32_t molt_pool_take(struct molt_completion *completions, uint32_t room)
{
	uint32_t count = 0;
	struct call *call;

	pthread_mutex_lock(&pool.lock);
	while (count < room && (call = take(&pool.returned))) {
		completions[count++] = call->completion;
		free(call);
	}
	pthread_mutex_unlock(&pool.lock);
	return count;
}
