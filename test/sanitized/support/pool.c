/* Calls by the C library's pool of threads (see pool.h). */
#define _GNU_SOURCE
#include "pool.h"

#include <poll.h>
#include <stddef.h>
#include <unistd.h>

#include "entry_points.h"
#include "program.h"

void pool_start(const char *name, uint64_t token, const uint64_t *arguments, uint32_t count)
{
	int32_t index = molt_pool_find(name);

	check(index >= 0, "the pool has no function %s", name);
	check(molt_pool_call((uint32_t)index, arguments, count, token) == 0, "molt_pool_call");
}

struct molt_completion pool_await(void)
{
	struct pollfd event = { .fd = molt_pool_event(), .events = POLLIN };
	struct molt_completion completion;
	uint64_t count;

	while (molt_pool_take(&completion, 1) == 0) {
		poll(&event, 1, -1);
		(void)!read(event.fd, &count, sizeof count);
	}
	return completion;
}
