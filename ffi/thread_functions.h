#ifndef MOLT_THREAD_FUNCTIONS_H
#define MOLT_THREAD_FUNCTIONS_H

#include <stdint.h>

/*
 * What the pool's threads call (thread_pool.h): each function may wait, for a peer, a disk or the host's
 * name service, or take long. What they do stands beside their definitions.
 */

struct molt_channel;
struct molt_multifd;
struct molt_page_transfer;
struct molt_ram_buffer;
struct molt_ram_target;

/* file.c */
int32_t molt_sync(int32_t fd);
int32_t molt_datasync(int32_t fd);

/* socket.c */
int32_t molt_connect_patiently(int32_t fd, const void *address, uint32_t length, int32_t cancel,
			       int64_t limit);
int32_t molt_resolve(const char *host, const char *service, int32_t passive, int32_t family,
		     void *addresses, uint32_t room);

/* channel.c */
int32_t molt_channel_write(struct molt_channel *channel, void *buffer, uint64_t length);
int64_t molt_channel_read(struct molt_channel *channel, void *buffer, uint64_t length);

/* mapped_ram.c */
int32_t molt_pages_transfer(struct molt_page_transfer *transfer);

/* dirty.c */
int32_t molt_dirty_log_get(int32_t vm, uint32_t slot, uint64_t pages, uint64_t *scratch,
			   uint64_t *bitmap, uint64_t first);
int32_t molt_dirty_log_clear(int32_t vm, uint32_t slot, uint64_t pages, uint64_t first,
			     const uint64_t *bitmap, uint64_t from, uint64_t end);

/* ram_stream.c */
int64_t molt_ram_send(struct molt_channel *channel, uint8_t *memory, const uint64_t *bitmap,
		      const uint64_t *maybe, uint64_t first, uint64_t end, uint32_t detect,
		      const uint8_t *name, uint64_t *counts);

/* ram_load.c */
int32_t molt_ram_receive(struct molt_channel *channel, uint8_t *bytes, uint64_t size,
			 struct molt_ram_buffer *buffer, const struct molt_ram_target *targets,
			 uint32_t count);

/* multifd.c */
int64_t molt_multifd_send(struct molt_multifd *end, struct molt_channel *channel, uint8_t *memory,
			  const uint64_t *bitmap, const uint64_t *maybe, uint64_t first,
			  uint64_t last, uint32_t detect, const uint8_t *name, uint64_t *number,
			  uint64_t *counts);
int64_t molt_multifd_send_sync(struct molt_multifd *end, struct molt_channel *channel,
			       uint64_t *number);
int32_t molt_multifd_receive(struct molt_multifd *end, struct molt_channel *channel,
			     const struct molt_ram_target *targets, uint32_t count);

/* pages.c */
void molt_drop_zero_pages(uint64_t memory, uint64_t *bitmap, uint64_t first, uint64_t end);
int64_t molt_drop_file_holes(int32_t fd, int64_t offset, uint64_t *bitmap, uint64_t first,
			     uint64_t end);
int32_t molt_drop_untouched(uint64_t memory, uint64_t *bitmap, uint64_t first, uint64_t end);

#endif
