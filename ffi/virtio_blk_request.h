#ifndef MOLT_VIRTIO_BLK_REQUEST_H
#define MOLT_VIRTIO_BLK_REQUEST_H

#include <linux/virtio_blk.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "block_image.h"
#include "virtio_blk_accounting.h"
#include "virtio_queue.h"

/* A request of virtio-blk: what a chain of buffers asks for, and how it is done on the disk's image. */

/* What TypeScript says of the disk. */
struct molt_disk_setup {
	struct molt_image image;
	uint32_t sector; /* logical block size */
	uint32_t read_only;
	uint32_t read_error; /* enum molt_disk_error_action */
	uint32_t write_error;
	uint32_t discard_maximum; /* sectors of 512 bytes */
	uint32_t write_zeroes_maximum;
	char serial[VIRTIO_BLK_ID_BYTES];
	uint32_t reserved;
};
_Static_assert(sizeof(struct molt_disk_setup) == 88, "src/native/disk.ts lays it out");

struct molt_disk {
	struct molt_disk_setup setup;
	struct molt_memory *memory;
	int attention; /* eventfd: TypeScript is to look */
	_Atomic bool write_cache; /* writes may stay in the host's cache until a flush */
	struct molt_disk_accounting accounting;
};

/* A request taken apart. */
struct molt_disk_request {
	uint32_t type; /* without modifiers */
	uint64_t sector;
	bool written; /* of a kind that writes */
	uint8_t *status;
	struct iovec *data; /* without header and status */
	uint32_t count;
	uint64_t length;
	uint64_t returned; /* bytes of all buffers to be written */
};

/* Finds header, data and status; `data` gets the buffers. False: the chain is no request. */
bool molt_disk_parse(struct molt_element *element, struct iovec *data,
		     struct molt_disk_request *request);

enum molt_disk_operation molt_disk_operation_of(const struct molt_disk_request *request);

/*
 * Does the request. Returns a status of virtio-blk, -errno of the image, or -EBADMSG if it is none after
 * all. `wait` false: -EAGAIN if that may take long.
 */
int molt_disk_perform(struct molt_disk *disk, const struct molt_disk_request *request, bool wait);

#endif
