/* Reading and writing migration channels: waits that can be cancelled, on any thread. */
#include "molt.h"

#include <limits.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channel.h"
#include "iov.h"

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
		ssize_t done = read(channel->fd, buffer, length);
		int32_t error = 0;

		if (done >= 0)
			return done;
		if (errno == EAGAIN)
			error = wait_for(channel, POLLIN);
		else if (errno != EINTR)
			error = -errno;
		if (error)
			return error;
	}
}

/* Writes all of `buffer`. Returns 0 or -errno. */
MOLT_EXPORT int32_t molt_channel_write(struct molt_channel *channel, void *buffer, uint64_t length)
{
	struct iovec vector = { buffer, length };

	return molt_channel_writev(channel, &vector, 1);
}

/* Waits until there is something to read, or the stream has ended, or it is cancelled. 0 or -errno. */
MOLT_EXPORT int32_t molt_channel_wait(struct molt_channel *channel, int32_t events)
{
	return wait_for(channel, (short)events);
}

/*
 * Waits on a listening channel until there is a connection to accept (0) or, if there is none, the
 * other side of `connection`, which came from there, has closed it (1). -errno otherwise.
 */
MOLT_EXPORT int32_t molt_channel_wait_connection(struct molt_channel *channel, int32_t connection)
{
	struct pollfd entries[] = { { .fd = channel->cancel, .events = POLLIN },
				    { .fd = channel->fd, .events = POLLIN },
				    { .fd = connection, .events = POLLRDHUP } };

	while (poll(entries, 3, -1) < 0)
		if (errno != EINTR)
			return -errno;
	if (entries[0].revents)
		return -ECANCELED;
	return entries[1].revents ? 0 : 1;
}

/* Waits until the child `pid` has ended: *status as waitpid gives it. Returns the pid or -errno. */
MOLT_EXPORT int32_t molt_await_child(int32_t pid, int32_t *status)
{
	pid_t ended;

	do
		ended = waitpid(pid, status, 0);
	while (ended < 0 && errno == EINTR);
	return molt_status(ended);
}
