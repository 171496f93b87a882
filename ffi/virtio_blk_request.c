/* Requests of virtio-blk (see virtio_blk_request.h). */
#include "molt.h"

#include <string.h>

#include "iov.h"
#include "virtio_blk_request.h"

#define SECTOR 512
#define TYPE_MODIFIERS (VIRTIO_BLK_T_OUT | VIRTIO_BLK_T_BARRIER)

enum molt_disk_operation molt_disk_operation_of(const struct molt_disk_request *request)
{
	switch (request->type) {
	case VIRTIO_BLK_T_FLUSH:
		return MOLT_DISK_FLUSH;
	case VIRTIO_BLK_T_DISCARD & ~TYPE_MODIFIERS:
		return MOLT_DISK_UNMAP;
	default:
		return request->written ? MOLT_DISK_WRITE : MOLT_DISK_READ;
	}
}

bool molt_disk_parse(struct molt_element *element, struct iovec *data,
		     struct molt_disk_request *request)
{
	struct virtio_blk_outhdr header;
	struct iovec *out = data;
	struct iovec *in = data + element->out_count;

	memcpy(data, element->iov, (element->out_count + element->in_count) * sizeof *data);
	if (element->in_count == 0 ||
	    molt_iov_read(out, element->out_count, &header, sizeof header) != sizeof header)
		return false;

	uint32_t out_count = molt_iov_skip(&out, element->out_count, sizeof header);
	struct iovec *last = &in[element->in_count - 1];

	request->returned = molt_iov_length(in, element->in_count);
	last->iov_len--;
	request->status = (uint8_t *)last->iov_base + last->iov_len;
	request->written = header.type & VIRTIO_BLK_T_OUT;
	request->type = header.type & ~TYPE_MODIFIERS;
	request->sector = header.sector;
	if (request->written) {
		request->data = out;
		request->count = out_count;
	} else {
		request->data = in;
		request->count = element->in_count - (last->iov_len == 0);
	}
	request->length = molt_iov_length(request->data, request->count);
	return true;
}

static bool in_range(const struct molt_disk *disk, uint64_t sector, uint64_t length)
{
	uint64_t size = disk->setup.image.size;

	return sector <= size / SECTOR && length <= size - sector * SECTOR &&
	       (sector * SECTOR | length) % disk->setup.sector == 0;
}

/* The requests below return a status of virtio-blk, or -errno of the image. */

static int read_or_write(struct molt_disk *disk, const struct molt_disk_request *request, bool wait)
{
	const struct molt_image *image = &disk->setup.image;
	uint64_t offset = request->sector * SECTOR;

	if (!in_range(disk, request->sector, request->length) ||
	    (request->written && disk->setup.read_only))
		return VIRTIO_BLK_S_IOERR;
	return request->written
		? molt_image_write(image, request->data, request->count, offset,
				   !atomic_load(&disk->write_cache))
		: molt_image_read(image, request->data, request->count, offset, wait);
}

static int identify(const struct molt_disk *disk, const struct molt_disk_request *request)
{
	uint64_t length = strnlen(disk->setup.serial, VIRTIO_BLK_ID_BYTES);

	/* Its end is marked only if there is room. */
	if (length < VIRTIO_BLK_ID_BYTES)
		length++;
	molt_iov_write(request->data, request->count, disk->setup.serial, length);
	return VIRTIO_BLK_S_OK;
}

/* Discard and write zeroes. -EBADMSG: the segment is too short to be one. */
static int discard_or_zero(struct molt_disk *disk, const struct molt_disk_request *request)
{
	bool discard = molt_disk_operation_of(request) == MOLT_DISK_UNMAP;
	struct virtio_blk_discard_write_zeroes segment;

	if (!request->written || request->length > sizeof segment)
		return VIRTIO_BLK_S_UNSUPP;
	if (molt_iov_read(request->data, request->count, &segment, sizeof segment) !=
	    sizeof segment)
		return -EBADMSG;

	uint64_t length = (uint64_t)segment.num_sectors * SECTOR;
	uint32_t most = discard ? disk->setup.discard_maximum : disk->setup.write_zeroes_maximum;

	if (segment.flags & ~(uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP ||
	    (discard && segment.flags != 0))
		return VIRTIO_BLK_S_UNSUPP;
	if (segment.num_sectors > most || !in_range(disk, segment.sector, length) ||
	    disk->setup.read_only)
		return VIRTIO_BLK_S_IOERR;
	if (discard)
		return molt_image_discard(&disk->setup.image, segment.sector * SECTOR, length);

	int error = molt_image_write_zeroes(&disk->setup.image, segment.sector * SECTOR, length,
					    segment.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);

	return error || atomic_load(&disk->write_cache) ? error
							: molt_image_flush(&disk->setup.image);
}

int molt_disk_perform(struct molt_disk *disk, const struct molt_disk_request *request, bool wait)
{
	switch (request->type) {
	case VIRTIO_BLK_T_IN:
		return read_or_write(disk, request, wait);
	case VIRTIO_BLK_T_FLUSH:
		return wait ? molt_image_flush(&disk->setup.image) : -EAGAIN;
	case VIRTIO_BLK_T_GET_ID:
		return identify(disk, request);
	case VIRTIO_BLK_T_DISCARD & ~TYPE_MODIFIERS:
	case VIRTIO_BLK_T_WRITE_ZEROES & ~TYPE_MODIFIERS:
		return wait ? discard_or_zero(disk, request) : -EAGAIN;
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}
