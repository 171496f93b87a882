#ifndef POOL_H
#define POOL_H

#include <stdint.h>

#include "../../../ffi/thread_pool.h"

/* Calls by the C library's pool of threads (ffi/thread_pool.h). One thread of a program uses these. */

#define pool_call(name, token, ...) \
	pool_start(name, token, (const uint64_t[]){ __VA_ARGS__ }, \
		   sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))

/* An argument that is an address. */
#define pool_address(pointer) ((uint64_t)(uintptr_t)(pointer))

/* Has a thread call the function `name`, whose result comes back with `token`. */
void pool_start(const char *name, uint64_t token, const uint64_t *arguments, uint32_t count);

/* Waits for the next result. */
struct molt_completion pool_await(void);

#endif
