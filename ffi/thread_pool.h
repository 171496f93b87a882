#ifndef MOLT_THREAD_POOL_H
#define MOLT_THREAD_POOL_H

#include <stdint.h>

/* Most arguments that a call has. */
#define MOLT_CALL_ARGUMENTS 12

/*
 * A function that the pool's threads call by its name. Arguments are integers and addresses, widened to
 * 64 bits; the result is the function's, sign-extended.
 */
struct molt_thread_function {
	const char *name;
	int64_t (*call)(const uint64_t *arguments);
};

/* All of them, and how many there are (thread_functions.c). */
extern const struct molt_thread_function molt_thread_functions[];
extern const uint32_t molt_thread_function_count;

/* A call that has returned. */
struct molt_completion {
	uint64_t token; /* as given to molt_pool_call */
	int64_t result;
};

#endif
