/* Reading and writing migration channels: waits that can be cancelled, on any thread. */
#include "molt.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include "channel.h"
#include "iov.h"
#include "thread_functions.h"

/* Waits until one of `events` holds for `fd`, or the channel is cancelled. 0 or -errno. */
static int32_t wait_for(const struct molt_channel *channel, short events)
{
	struct pollfd entries[] = { { .fd = channel->cancel, .events = POLLIN },
				    { .fd = channel->fd, .events = events } };

	while (poll(entries, 2, -1) < 0)
		if (errno != EINTR)
			return -errno;
	return entries[0].revents ? -ECANCELED : 0;
}

/* 0, or -ECANCELED. For channels that never make one wait. */
static int32_t check_cancelled(const struct molt_channel *channel)
{
	struct pollfd entry = { .fd = channel->cancel, .events = POLLIN };

	return poll(&entry, 1, 0) > 0 ? -ECANCELED : 0;
}

int32_t molt_channel_writev(struct molt_channel *channel, struct iovec *vectors, uint32_t count)
{
	while (count > 0) {
		int now = count < IOV_MAX ? (int)count : IOV_MAX;
		ssize_t done = channel->offset < 0 ?
				       writev(channel->fd, vectors, now) :
				       pwritev(channel->fd, vectors, now, channel->offset);
		int32_t error = 0;

		if (done >= 0) {
			count = molt_iov_skip(&vectors, count, (uint64_t)done);
			if (channel->offset >= 0) {
				channel->offset += done;
				error = check_cancelled(channel);
			}
		} else if (errno == EAGAIN) {
			error = wait_for(channel, POLLOUT);
		} else if (errno != EINTR) {
			error = -errno;
		}
		if (error)
			return error;
	}
	return 0;
}

int32_t molt_channel_readv(struct molt_channel *channel, struct iovec *vectors, uint32_t count)
{
	size_t total = 0;

	while (count > 0) {
		int now = count < IOV_MAX ? (int)count : IOV_MAX;
		ssize_t done = channel->offset < 0 ?
				       readv(channel->fd, vectors, now) :
				       preadv(channel->fd, vectors, now, channel->offset);
		int32_t error = 0;

		if (done == 0)
			return total == 0 ? 1 : -EPIPE;
		if (done > 0) {
			total += (size_t)done;
			count = molt_iov_skip(&vectors, count, (uint64_t)done);
			if (channel->offset >= 0) {
				channel->offset += done;
				error = check_cancelled(channel);
			}
		} else if (errno == EAGAIN) {
			error = wait_for(channel, POLLIN);
		} else if (errno != EINTR) {
			error = -errno;
		}
		if (error)
			return error;
	}
	return 0;
}

int64_t molt_channel_read_some(struct molt_channel *channel, void *buffer, size_t length)
{
	for (;;) {
		ssize_t done = channel->offset < 0 ?
				       read(channel->fd, buffer, length) :
				       pread(channel->fd, buffer, length, channel->offset);
		int32_t error = 0;

		if (done >= 0 && channel->offset >= 0) {
			channel->offset += done;
			error = check_cancelled(channel);
		}
		if (done >= 0)
			return error ? error : done;
		if (errno == EAGAIN)
			error = wait_for(channel, POLLIN);
		else if (errno != EINTR)
			error = -errno;
		if (error)
			return error;
	}
}

/* Reads what there is, at least a byte. Returns the count, 0 at the end, or -errno. */
int64_t molt_channel_read(struct molt_channel *channel, void *buffer, uint64_t length)
{
	return molt_channel_read_some(channel, buffer, length);
}

/* Writes all of `buffer`. Returns 0 or -errno. */
int32_t molt_channel_write(struct molt_channel *channel, void *buffer, uint64_t length)
{
	struct iovec vector = { buffer, length };

	return molt_channel_writev(channel, &vector, 1);
}
