#ifndef MOLT_IOV_H
#define MOLT_IOV_H

#include <stdint.h>
#include <sys/uio.h>

/* Bytes that lie in several buffers. */

/* Copies up to `length` bytes out of buffers, or into them. Returns the bytes copied. */
uint64_t molt_iov_read(const struct iovec *iov, uint32_t count, void *bytes, uint64_t length);
uint64_t molt_iov_write(const struct iovec *iov, uint32_t count, const void *bytes,
			uint64_t length);

/* Drops the first `length` bytes of *iov, of which there are enough. Returns the buffers left. */
uint32_t molt_iov_skip(struct iovec **iov, uint32_t count, uint64_t length);

uint64_t molt_iov_length(const struct iovec *iov, uint32_t count);

#endif
