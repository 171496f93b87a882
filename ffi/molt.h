/*
 * molt's C library: what TypeScript cannot do through Deno. It moves bytes and makes system calls;
 * decisions are taken in TypeScript (src/native is the only caller).
 *
 * What is more than that is here because it comes once for every exit, request, frame or page, where a
 * way to the isolate and back would cost more than the work:
 *
 *   vcpu.c, virtio_interrupt.c   InterruptStatus and InterruptACK are answered by vCPU threads: two exits
 *                                for each interrupt of a guest.
 *   virtio_queue.c               The checks of what drivers put into a queue. The words for what is wrong
 *                                are TypeScript's.
 *   virtio_blk_queue.c           What becomes of a failed request, by the policy that TypeScript has set:
 *                                with `stop` no request after it may be taken from the queue. When a
 *                                request goes to another thread, and how many quick ones a driver's
 *                                notification waits for, by what the last ones took.
 *   virtio_net_pair.c,           How long a frame waits for others before the driver is notified; which
 *   virtio_net_filter.c          frames the driver wants, by the filter that TypeScript keeps.
 *   image_format.c               What looks like another image format: every write to block 0 of an image
 *                                whose format was guessed is judged. Starting uses the same judgement.
 *   memory_guard.c               What happens after SIGBUS: no handler can wait for the isolate.
 *   pages.c, ram_*.c,            Which pages are zero, and the records of pages in a stream: a guest has
 *   mapped_ram.c, multifd.c      millions. multifd.c words what is wrong in a packet, for it alone has
 *                                the packet.
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
