/* Reading and writing disk images (see block_image.h). */
#include "molt.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "block_image.h"
#include "image_format.h"
#include "iov.h"
#include "memory_guard.h"
#include "virtio_queue.h"

/* Most bytes of zeros written at once where the file system cannot make them itself. */
#define ZERO_CHUNK (1 << 20)
/* Most bytes at once in memory of our own, of requests whose buffers O_DIRECT does not take. */
#define BOUNCE_SIZE (1 << 20)

static int take_time(const struct molt_image *image)
{
	struct timespec time = { (time_t)(image->latency / 1000000000),
				 (long)(image->latency % 1000000000) };

	if (image->latency > 0)
		nanosleep(&time, NULL);
	return 0;
}

static bool aligned(const struct molt_image *image, const struct iovec *iov, uint32_t count)
{
	if (!(image->flags & MOLT_IMAGE_DIRECT))
		return true;
	for (uint32_t i = 0; i < count; i++) {
		if (((uintptr_t)iov[i].iov_base | iov[i].iov_len) & (image->alignment - 1))
			return false;
	}
	return true;
}

/* preadv2 until all is there. Changes the vector. */
static int read_all(const struct molt_image *image, struct iovec *iov, uint32_t count,
		    uint64_t offset, bool wait)
{
	while (count > 0) {
		ssize_t got = preadv2(image->fd, iov, (int)count, (off_t)(image->offset + offset),
				      wait ? 0 : RWF_NOWAIT);

		if (got < 0) {
			if (errno == EINTR || (errno == EFAULT && molt_guard_touch(iov, count)))
				continue;
			return !wait && errno == EOPNOTSUPP ? -EAGAIN : -errno;
		}
		count = molt_iov_skip(&iov, count, (uint64_t)got);
		offset += (uint64_t)got;
		/* Direct reads are short of the alignment only at the file's end. */
		if (got == 0 ||
		    (image->flags & MOLT_IMAGE_DIRECT && (uint64_t)got % image->alignment != 0)) {
			for (uint32_t i = 0; i < count; i++)
				memset(iov[i].iov_base, 0, iov[i].iov_len);
			return 0;
		}
	}
	return 0;
}

static int write_all(const struct molt_image *image, struct iovec *iov, uint32_t count,
		     uint64_t offset, bool durable)
{
	while (count > 0) {
		ssize_t put = pwritev2(image->fd, iov, (int)count, (off_t)(image->offset + offset),
				       durable ? RWF_DSYNC : 0);

		if (put < 0) {
			if (errno == EINTR || (errno == EFAULT && molt_guard_touch(iov, count)))
				continue;
			return -errno;
		}
		if (put == 0)
			return -ENOSPC;
		count = molt_iov_skip(&iov, count, (uint64_t)put);
		offset += (uint64_t)put;
	}
	return 0;
}

/* Aligned memory for a request of `length` bytes, or for one piece of it: *size bytes. */
static void *make_bounce(const struct molt_image *image, uint64_t length, uint64_t *size)
{
	uint64_t rounded = (length + image->alignment - 1) & -(uint64_t)image->alignment;

	*size = rounded < BOUNCE_SIZE ? rounded : BOUNCE_SIZE;
	return aligned_alloc(image->alignment, *size);
}

/*
 * Reads through aligned memory, piece by piece: what a request takes of the host does not grow with it.
 * Changes the vector.
 */
static int read_bounced(const struct molt_image *image, struct iovec *iov, uint32_t count,
			uint64_t offset, bool wait)
{
	uint64_t left = molt_iov_length(iov, count), size;
	void *memory = make_bounce(image, left, &size);
	int error = memory ? 0 : -ENOMEM;

	while (!error && left > 0) {
		uint64_t length = left < size ? left : size;
		struct iovec piece = { memory, length };

		error = read_all(image, &piece, 1, offset, wait);
		if (!error)
			molt_iov_write(iov, count, memory, length);
		count = molt_iov_skip(&iov, count, length);
		offset += length;
		left -= length;
	}
	free(memory);
	return error;
}

/* The same for writing. */
static int write_bounced(const struct molt_image *image, struct iovec *iov, uint32_t count,
			 uint64_t offset, bool durable)
{
	uint64_t left = molt_iov_length(iov, count), size;
	void *memory = make_bounce(image, left, &size);
	int error = memory ? 0 : -ENOMEM;

	while (!error && left > 0) {
		uint64_t length = molt_iov_read(iov, count, memory, size);
		struct iovec piece = { memory, length };

		error = write_all(image, &piece, 1, offset, durable);
		count = molt_iov_skip(&iov, count, length);
		offset += length;
		left -= length;
	}
	free(memory);
	return error;
}

int molt_image_read(const struct molt_image *image, const struct iovec *iov, uint32_t count,
		    uint64_t offset, bool wait)
{
	struct iovec copy[MOLT_QUEUE_MAXIMUM];

	if (image->fd < 0) {
		if (!wait && image->latency > 0)
			return -EAGAIN;
		if (image->flags & MOLT_IMAGE_ZEROES) {
			for (uint32_t i = 0; i < count; i++)
				memset(iov[i].iov_base, 0, iov[i].iov_len);
		}
		return take_time(image);
	}
	memcpy(copy, iov, count * sizeof *iov);
	return aligned(image, iov, count) ? read_all(image, copy, count, offset, wait) :
				    read_bounced(image, copy, count, offset, wait);
}

/*
 * Writes to block 0 of an image whose format was guessed. What is looked at is what is written: a copy,
 * which the guest cannot change meanwhile.
 */
static int write_probed(const struct molt_image *image, const struct iovec *iov, uint32_t count,
			uint64_t offset, bool durable)
{
	_Alignas(4096) uint8_t start[4096];
	struct iovec copy[MOLT_QUEUE_MAXIMUM];
	struct iovec *rest = copy;
	struct iovec piece = { start, molt_iov_read(iov, count, start, sizeof start) };
	uint64_t written = piece.iov_len;

	if (written == 0)
		return 0;
	/* Requests are whole sectors, so that this is all of block 0 or not its beginning. */
	if (offset == 0 && molt_probe_format(start, written))
		return -EPERM;

	int error = write_all(image, &piece, 1, offset,
			      durable && !(image->flags & MOLT_IMAGE_NO_FLUSH));

	if (error)
		return error;
	memcpy(copy, iov, count * sizeof *iov);
	count = molt_iov_skip(&rest, count, written);
	return count > 0 ? molt_image_write(image, rest, count, offset + written, durable) : 0;
}

int molt_image_write(const struct molt_image *image, const struct iovec *iov, uint32_t count,
		     uint64_t offset, bool durable)
{
	struct iovec copy[MOLT_QUEUE_MAXIMUM];

	if (image->fd < 0)
		return take_time(image);
	if (image->flags & MOLT_IMAGE_PROBED && offset < MOLT_IMAGE_PROBE_SIZE)
		return write_probed(image, iov, count, offset, durable);
	durable = durable && !(image->flags & MOLT_IMAGE_NO_FLUSH);
	memcpy(copy, iov, count * sizeof *iov);
	return aligned(image, iov, count) ? write_all(image, copy, count, offset, durable) :
				    write_bounced(image, copy, count, offset, durable);
}

int molt_image_flush(const struct molt_image *image)
{
	if (image->fd < 0 || image->flags & MOLT_IMAGE_NO_FLUSH)
		return take_time(image);
	return fdatasync(image->fd) < 0 ? -errno : 0;
}

static int allocate(const struct molt_image *image, int mode, uint64_t offset, uint64_t length)
{
	int outcome;

	do {
		outcome = fallocate(image->fd, mode, (off_t)(image->offset + offset),
				    (off_t)length);
	} while (outcome < 0 && errno == EINTR);
	return outcome < 0 ? -errno : 0;
}

static bool not_supported(int error)
{
	return error == -EOPNOTSUPP || error == -ENOSYS || error == -ENODEV || error == -EINVAL;
}

int molt_image_discard(const struct molt_image *image, uint64_t offset, uint64_t length)
{
	if (image->fd < 0)
		return take_time(image);
	if (!(image->flags & MOLT_IMAGE_UNMAP) || length == 0)
		return 0;

	int error = allocate(image, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);

	/* It is a hint: where it cannot be followed, nothing is lost. */
	return not_supported(error) ? 0 : error;
}

static int write_zero_bytes(const struct molt_image *image, uint64_t offset, uint64_t length)
{
	uint64_t chunk = length < ZERO_CHUNK ? length : ZERO_CHUNK;
	void *zeros = aligned_alloc(4096, (chunk + 4095) & ~(uint64_t)4095);
	int error = zeros ? 0 : -ENOMEM;

	if (zeros)
		memset(zeros, 0, chunk);
	while (!error && length > 0) {
		struct iovec piece = { zeros, length < chunk ? length : chunk };
		uint64_t size = piece.iov_len;

		error = write_all(image, &piece, 1, offset, false);
		offset += size;
		length -= size;
	}
	free(zeros);
	return error;
}

int molt_image_write_zeroes(const struct molt_image *image, uint64_t offset, uint64_t length,
			    bool unmap)
{
	int error = -EOPNOTSUPP;

	if (image->fd < 0)
		return take_time(image);
	if (length == 0)
		return 0;
	if (unmap && image->flags & MOLT_IMAGE_UNMAP)
		error = allocate(image, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
	if (not_supported(error))
		error = allocate(image, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length);
	return not_supported(error) ? write_zero_bytes(image, offset, length) : error;
}
