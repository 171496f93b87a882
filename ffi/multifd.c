/*
 * multifd: pages on connections of their own, in packets of up to 128 pages of one block. A packet has
 * a header of 1344 bytes (all numbers big-endian), then the pages that are not zero, as they are or
 * as the next piece of the connection's compressed stream:
 *
 *     0 u32 magic  4 u32 version  8 u32 flags  12 u32 slots (128)  16 u32 pages with content
 *    20 u32 bytes that follow  24 u64 number of the packet  32 u32 zero pages  36 pad[28]
 *    64 block name, NUL-padded [256]  320 u64 offsets in the block [128]: pages with content first
 *
 * A packet with the flag SYNC ends what belongs before a synchronisation.
 */
#include "molt.h"

#include <endian.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"
#include "compression.h"
#include "pages.h"
#include "ram_load.h"
#include "thread_functions.h"

#define MAGIC 0x11223344
#define VERSION 1
#define SLOTS 128
#define NAME_SIZE 256

enum {
	FLAG_SYNC = 0x01,
	FLAGS_COMPRESSION = 0x3e,
};

static const uint32_t compression_flags[] = {
	[MOLT_COMPRESSION_NONE] = 0,
	[MOLT_COMPRESSION_ZLIB] = 0x02,
	[MOLT_COMPRESSION_ZSTD] = 0x04,
};

struct packet {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t slots;
	uint32_t normal;
	uint32_t data_length;
	uint64_t number;
	uint32_t zero;
	uint8_t unused[28];
	uint8_t name[NAME_SIZE];
	uint64_t offsets[SLOTS];
};

_Static_assert(sizeof(struct packet) == 1344, "the wire's packet header");

#define CONTENT (SLOTS * MOLT_PAGE_SIZE)

/* One connection. */
struct molt_multifd {
	uint32_t compression_flag;
	struct molt_codec *codec; /* NULL: pages travel as they are */
	uint8_t *plain; /* with a codec: a packet's pages */
	uint8_t *packed; /* and what they become */
	struct packet packet;
	char error[200]; /* what is wrong with what was received */
};

/*
 * Prepares one end of a connection: an enum molt_compression, and a compressor's level or -1 for the
 * receiving end. Returns a handle or -errno; -ELIBACC if the host lacks the library.
 */
MOLT_EXPORT int64_t molt_multifd_create(uint32_t compression, int32_t level)
{
	struct molt_multifd *end = calloc(1, sizeof *end);
	int32_t error = 0;

	if (!end)
		return -ENOMEM;
	if (compression != MOLT_COMPRESSION_NONE) {
		end->compression_flag = compression_flags[compression];
		end->plain = malloc(CONTENT);
		end->packed = malloc(molt_codec_bound(CONTENT));
		error = end->plain && end->packed ?
				molt_codec_create(compression, level, &end->codec) :
				-ENOMEM;
	}
	if (!error)
		return (int64_t)(uintptr_t)end;
	free(end->plain);
	free(end->packed);
	free(end);
	return error;
}

MOLT_EXPORT void molt_multifd_destroy(struct molt_multifd *end)
{
	if (end->codec)
		molt_codec_destroy(end->codec);
	free(end->plain);
	free(end->packed);
	free(end);
}

/* The text of the last -EBADMSG. */
MOLT_EXPORT uint64_t molt_multifd_error(const struct molt_multifd *end)
{
	return (uint64_t)(uintptr_t)end->error;
}

/* Vectors for the pages at the packet's first `count` offsets. Neighbours share one. */
static uint32_t page_vectors(const struct packet *packet, uint32_t count, uint8_t *memory,
			   struct iovec *vectors)
{
	uint32_t used = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint8_t *page = memory + be64toh(packet->offsets[i]);
		struct iovec *last = used > 0 ? &vectors[used - 1] : NULL;

		if (last && (uint8_t *)last->iov_base + last->iov_len == page)
			last->iov_len += MOLT_PAGE_SIZE;
		else
			vectors[used++] = (struct iovec){ page, MOLT_PAGE_SIZE };
	}
	return used;
}

/* Compresses a copy of the packet's pages: they may change while they are read. Vector or error. */
static int32_t compress_pages(struct molt_multifd *end, uint32_t count, const uint8_t *memory,
			      struct iovec *vector)
{
	for (uint32_t i = 0; i < count; i++)
		memcpy(end->plain + i * MOLT_PAGE_SIZE,
		       memory + be64toh(end->packet.offsets[i]), MOLT_PAGE_SIZE);

	int64_t length = molt_codec_compress(end->codec, end->plain, count * MOLT_PAGE_SIZE,
					     end->packed, molt_codec_bound(CONTENT));

	if (length < 0)
		return (int32_t)length;
	*vector = (struct iovec){ end->packed, (size_t)length };
	return 0;
}

/* Sends end->packet, whose offsets are set, with its pages. Returns the bytes or -errno. */
static int64_t send_packet(struct molt_multifd *end, struct molt_channel *channel, uint8_t *memory,
			   uint32_t normal, uint32_t zero, uint64_t *number)
{
	struct packet *packet = &end->packet;
	struct iovec vectors[1 + SLOTS] = { { packet, sizeof *packet } };
	uint32_t count = 1;
	size_t length = normal * MOLT_PAGE_SIZE;
	int32_t error = 0;

	if (end->codec && normal > 0) {
		error = compress_pages(end, normal, memory, &vectors[count++]);
		length = vectors[1].iov_len;
	} else {
		count += page_vectors(packet, normal, memory, vectors + 1);
	}
	if (error)
		return error;
	packet->magic = htobe32(MAGIC);
	packet->version = htobe32(VERSION);
	packet->flags = htobe32(end->compression_flag);
	packet->slots = htobe32(SLOTS);
	packet->normal = htobe32(normal);
	packet->zero = htobe32(zero);
	packet->data_length = htobe32((uint32_t)length);
	packet->number = htobe64(atomic_fetch_add((_Atomic uint64_t *)number, 1));
	memset(packet->offsets + normal + zero, 0,
	       sizeof packet->offsets - (normal + zero) * sizeof packet->offsets[0]);
	error = molt_channel_writev(channel, vectors, count);
	return error ? error : (int64_t)(sizeof *packet + length);
}

/*
 * Sends the pages of [first, end) that are set in `bitmap`, of the block `name` (256 bytes,
 * NUL-padded) at `memory`. `maybe` is 0, or a bitmap in which pages are clear that are known to be
 * zero; others are looked at if `detect` is 1. *number counts packets of all connections. counts[0] and
 * counts[1] become the numbers of pages with content and of zero pages. Returns the bytes or -errno.
 */
int64_t molt_multifd_send(struct molt_multifd *end, struct molt_channel *channel,
				      uint8_t *memory, const uint64_t *bitmap,
				      const uint64_t *maybe, uint64_t first, uint64_t last,
				      uint32_t detect, const uint8_t *name, uint64_t *number,
				      uint64_t *counts)
{
	struct packet *packet = &end->packet;
	uint64_t page = molt_next_set(bitmap, first, last);
	int64_t total = 0;

	memcpy(packet->name, name, NAME_SIZE);
	counts[0] = counts[1] = 0;
	while (page < last) {
		uint64_t zeros[SLOTS];
		uint32_t normal = 0, zero = 0;

		for (; page < last && normal + zero < SLOTS;
		     page = molt_next_set(bitmap, page + 1, last)) {
			uint64_t offset = page << MOLT_PAGE_SHIFT;

			if ((maybe && !molt_bit(maybe, page)) ||
			    (detect && molt_page_is_zero(memory + offset)))
				zeros[zero++] = htobe64(offset);
			else
				packet->offsets[normal++] = htobe64(offset);
		}
		memcpy(packet->offsets + normal, zeros, zero * sizeof zeros[0]);

		int64_t sent = send_packet(end, channel, memory, normal, zero, number);

		if (sent < 0)
			return sent;
		total += sent;
		counts[0] += normal;
		counts[1] += zero;
	}
	return total;
}

/* Sends a packet that ends what belongs before a synchronisation. Returns the bytes or -errno. */
int64_t molt_multifd_send_sync(struct molt_multifd *end, struct molt_channel *channel,
					   uint64_t *number)
{
	struct packet *packet = &end->packet;
	struct iovec vector = { packet, sizeof *packet };

	memset(packet, 0, sizeof *packet);
	packet->magic = htobe32(MAGIC);
	packet->version = htobe32(VERSION);
	packet->flags = htobe32(FLAG_SYNC);
	packet->number = htobe64(atomic_fetch_add((_Atomic uint64_t *)number, 1));

	int32_t error = molt_channel_writev(channel, &vector, 1);

	return error ? error : (int64_t)sizeof *packet;
}

__attribute__((format(printf, 2, 3))) static int32_t bad(struct molt_multifd *end,
							 const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(end->error, sizeof end->error, format, arguments);
	va_end(arguments);
	return -EBADMSG;
}

static const struct molt_ram_target *find(const struct molt_ram_target *targets, uint32_t count,
					  const uint8_t *name)
{
	size_t length = strnlen((const char *)name, NAME_SIZE);

	for (uint32_t i = 0; i < count; i++)
		if (targets[i].name[0] == length && memcmp(targets[i].name + 1, name, length) == 0)
			return &targets[i];
	return NULL;
}

/* Checks everything that a packet's header says. 0, or -EBADMSG with a text. */
static int32_t check_packet(struct molt_multifd *end, const struct molt_ram_target *targets,
			    uint32_t count, const struct molt_ram_target **target)
{
	const struct packet *packet = &end->packet;
	uint32_t magic = be32toh(packet->magic), version = be32toh(packet->version);
	uint32_t slots = be32toh(packet->slots), flags = be32toh(packet->flags);
	uint32_t normal = be32toh(packet->normal), zero = be32toh(packet->zero);
	uint32_t length = be32toh(packet->data_length);

	if (magic != MAGIC)
		return bad(end, "multifd: received packet magic %x, expected %x", magic, MAGIC);
	if (version != VERSION)
		return bad(end, "multifd: received packet version %u, expected %u", version,
			   VERSION);
	if (flags & ~(uint32_t)(FLAG_SYNC | FLAGS_COMPRESSION))
		return bad(end, "multifd: received unknown flags %x", flags);
	if (normal + (uint64_t)zero == 0)
		return length == 0 ? 0 : bad(end, "multifd: expected empty packet");
	if (slots > SLOTS)
		return bad(end, "multifd: received packet with %u pages, expected %u", slots, SLOTS);
	if (normal > SLOTS)
		return bad(end,
			   "multifd: received packet with %u non-zero pages, which exceeds maximum "
			   "expected pages %u",
			   normal, SLOTS);
	if (zero > SLOTS - normal)
		return bad(end, "multifd: received packet with %u zero pages, expected maximum %u",
			   zero, SLOTS - normal);
	if ((flags & FLAGS_COMPRESSION) != end->compression_flag)
		return bad(end, "multifd: flags received %x flags expected %x",
			   flags & FLAGS_COMPRESSION, end->compression_flag);
	if (end->codec ? length > molt_codec_bound(CONTENT) || (normal == 0) != (length == 0) :
			 length != normal * MOLT_PAGE_SIZE)
		return bad(end, "multifd: packet size received %u size expected %u", length,
			   normal * MOLT_PAGE_SIZE);
	*target = find(targets, count, packet->name);
	if (!*target)
		return bad(end, "multifd: unknown ram block %.100s", (const char *)packet->name);
	for (uint32_t i = 0; i < normal + zero; i++) {
		uint64_t offset = be64toh(packet->offsets[i]);

		if (offset % MOLT_PAGE_SIZE || offset >= (*target)->length)
			return bad(end, "multifd: offset too long %lu (max %lx)",
				   (unsigned long)offset, (unsigned long)(*target)->length);
	}
	return 0;
}

/* Reads a packet's pages into memory. 0 or -errno. */
static int32_t receive_pages(struct molt_multifd *end, struct molt_channel *channel,
			     const struct molt_ram_target *target)
{
	const struct packet *packet = &end->packet;
	uint32_t normal = be32toh(packet->normal), zero = be32toh(packet->zero);
	uint8_t *memory = (uint8_t *)(uintptr_t)target->memory;
	struct iovec vectors[SLOTS];
	uint32_t count;

	for (uint32_t i = 0; i < normal; i++)
		molt_target_note_written(target, be64toh(packet->offsets[i]) >> MOLT_PAGE_SHIFT);
	for (uint32_t i = normal; i < normal + zero; i++)
		molt_target_clear(target, be64toh(packet->offsets[i]) >> MOLT_PAGE_SHIFT);
	if (normal == 0)
		return 0;
	if (end->codec) {
		count = 1;
		vectors[0] = (struct iovec){ end->packed, be32toh(packet->data_length) };
	} else {
		count = page_vectors(packet, normal, memory, vectors);
	}

	int32_t error = molt_channel_readv(channel, vectors, count);

	if (error > 0 || error == -EPIPE)
		return bad(end, "multifd: unexpected EOF after packet header");
	if (error || !end->codec)
		return error;
	if (molt_codec_decompress(end->codec, end->packed, be32toh(packet->data_length), end->plain,
				  normal * MOLT_PAGE_SIZE) < 0)
		return bad(end, "multifd: the data of a packet cannot be decompressed");
	for (uint32_t i = 0; i < normal; i++)
		memcpy(memory + be64toh(packet->offsets[i]), end->plain + i * MOLT_PAGE_SIZE,
		       MOLT_PAGE_SIZE);
	return 0;
}

/*
 * Puts what comes into the targets' memory until a synchronisation (returns 1) or the end of the
 * stream (0). -EBADMSG: a packet was refused, molt_multifd_error says why.
 */
int32_t molt_multifd_receive(struct molt_multifd *end, struct molt_channel *channel,
					 const struct molt_ram_target *targets, uint32_t count)
{
	for (;;) {
		struct iovec vector = { &end->packet, sizeof end->packet };
		const struct molt_ram_target *target = NULL;
		int32_t error = molt_channel_readv(channel, &vector, 1);

		if (error > 0)
			return 0;
		if (error == -EPIPE)
			return bad(end, "multifd: unexpected EOF in packet header");
		if (error)
			return error;
		error = check_packet(end, targets, count, &target);
		if (!error && target)
			error = receive_pages(end, channel, target);
		if (error)
			return error;
		if (be32toh(end->packet.flags) & FLAG_SYNC)
			return 1;
	}
}
