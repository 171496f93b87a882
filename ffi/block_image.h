#ifndef MOLT_BLOCK_IMAGE_H
#define MOLT_BLOCK_IMAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* How an image is used. */
#define MOLT_IMAGE_DIRECT 1 /* opened O_DIRECT: buffers must be aligned */
#define MOLT_IMAGE_NO_FLUSH 2 /* flushes are not passed on */
#define MOLT_IMAGE_UNMAP 4 /* discarded blocks are given back */
#define MOLT_IMAGE_ZEROES 8 /* an image without file reads as zeros, not as what was in memory */
#define MOLT_IMAGE_PROBED 16 /* raw was guessed: block 0 must not look like another format */

/* Bytes behind a disk: a file, a block device, or nothing (for measurements). */
struct molt_image {
	int32_t fd; /* -1: nothing */
	uint32_t flags;
	uint64_t offset; /* where the disk starts in the file */
	uint64_t size; /* bytes of the disk */
	uint64_t latency; /* ns that every request takes, of an image without file */
	uint32_t alignment; /* of memory and offsets with MOLT_IMAGE_DIRECT: a power of two */
	uint32_t reserved;
};

/* All return 0 or -errno. Offsets are in the disk. */

/* Fills the buffers; what lies behind the file's end is zero. `wait` false: -EAGAIN instead of waiting. */
int molt_image_read(const struct molt_image *image, const struct iovec *iov, uint32_t count,
		    uint64_t offset, bool wait);

/* `durable`: on stable storage when it returns. -EPERM: the image would look like one of another format. */
int molt_image_write(const struct molt_image *image, const struct iovec *iov, uint32_t count,
		     uint64_t offset, bool durable);

int molt_image_flush(const struct molt_image *image);

/* Says that the content is not needed. */
int molt_image_discard(const struct molt_image *image, uint64_t offset, uint64_t length);

/* `unmap`: the space may be given back. */
int molt_image_write_zeroes(const struct molt_image *image, uint64_t offset, uint64_t length,
			    bool unmap);

#endif
