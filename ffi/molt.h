/*
 * molt's C library: what TypeScript cannot do through Deno. It moves bytes and makes system calls;
 * every decision is taken in TypeScript (src/native is the only caller).
 *
 * Conventions
 *   - A function that can fail returns a negative errno value (-ENOENT, ...), never sets errno for
 *     its caller, and leaves nothing behind when it fails.
 *   - Descriptors are created close-on-exec. Only molt_set_cloexec changes that.
 *   - Sizes and offsets are in bytes, times in nanoseconds unless the name says otherwise, and
 *     integers in memory are in host byte order.
 *   - Addresses that TypeScript carries around travel as uint64_t.
 */
#ifndef MOLT_H
#define MOLT_H

#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>

#define MOLT_EXPORT __attribute__((visibility("default")))

/* The outcome of a system call that counts bytes or gives an offset: the result, or -errno. */
static inline int64_t molt_result(int64_t value)
{
	return value < 0 ? -(int64_t)errno : value;
}

/* The outcome of one that returns an int: the result (0, a descriptor, flags), or -errno. */
static inline int32_t molt_status(int value)
{
	return value < 0 ? -errno : value;
}

/* `value` in 32 bits; what does not fit is the largest there is. */
static inline uint32_t molt_saturate(uint64_t value)
{
	return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

#endif
