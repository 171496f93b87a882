#ifndef MOLT_MEMORY_GUARD_H
#define MOLT_MEMORY_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * For a system call that failed with EFAULT: touches the memory of its buffers, so that pages that the
 * kernel could not reach are replaced as if this process had touched them. True if some were: try again.
 */
bool molt_guard_touch(const struct iovec *iov, uint32_t count);

#endif
