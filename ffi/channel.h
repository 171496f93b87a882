#ifndef MOLT_CHANNEL_H
#define MOLT_CHANNEL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* One end of a migration channel: a non-blocking socket or pipe, or a file. */
struct molt_channel {
	int32_t fd;
	int32_t cancel; /* eventfd: once it is readable, waiting ends with -ECANCELED */
	int64_t offset; /* where the next byte of a file goes; -1: not a file */
};

/*
 * Writes all that the vectors hold, waiting for room; changes the vectors. Returns 0 or -errno.
 * Advances the channel's offset.
 */
int32_t molt_channel_writev(struct molt_channel *channel, struct iovec *vectors, uint32_t count);

/* Fills all of the vectors, changing them. 0, 1 if the stream ended before the first byte, or -errno;
 * -EPIPE if it ended later. */
int32_t molt_channel_readv(struct molt_channel *channel, struct iovec *vectors, uint32_t count);

/* Reads what there is, at least a byte. Returns the count, 0 at the end, or -errno. */
int64_t molt_channel_read_some(struct molt_channel *channel, void *buffer, size_t length);

#endif
