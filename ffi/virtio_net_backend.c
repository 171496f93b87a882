/* The host's side of virtio-net (see virtio_net_backend.h). */
#include "molt.h"

#include <endian.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "iov.h"
#include "virtio_net_backend.h"

#define STREAM_PREFIX MOLT_NET_STREAM_PREFIX
#define FRAME_MAXIMUM MOLT_NET_FRAME_MAXIMUM

static bool is_full(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS || error == EINTR;
}

static void lose(struct molt_net_backend *backend)
{
	backend->lost = true;
	eventfd_write(backend->attention, 1);
}

void molt_net_backend_connect(struct molt_net_backend *backend, enum molt_net_backend_kind kind,
			      int fd, const void *peer, uint32_t peer_length)
{
	backend->kind = kind;
	backend->fd = fd;
	backend->lost = false;
	backend->prefixed = 0;
	backend->received = 0;
	backend->followed = 0;
	backend->unsent = 0;
	backend->peer_length = peer_length < sizeof backend->peer ? peer_length : 0;
	if (backend->peer_length > 0)
		memcpy(&backend->peer, peer, backend->peer_length);
}

/*
 * Reads on in a stream, up to the end of the current frame and, with `next`, the length of the next
 * one: nothing that a successor on the same connection could miss. Returns the frame's length, 0: it is
 * not complete.
 */
static uint32_t read_stream(struct molt_net_backend *backend, uint8_t *frame, uint32_t header,
			    bool next)
{
	for (;;) {
		uint32_t length = 0;

		if (backend->prefixed == STREAM_PREFIX) {
			memcpy(&length, backend->prefix, sizeof length);
			length = be32toh(length);
			if (length > FRAME_MAXIMUM - MOLT_NET_HEADER_MERGED) {
				lose(backend); /* nobody knows where the next one starts */
				return 0;
			}
			if (backend->received == length) {
				backend->received = 0;
				memcpy(backend->prefix, backend->following, STREAM_PREFIX);
				backend->prefixed = backend->followed;
				backend->followed = 0;
				return header + length;
			}
		}

		bool body = backend->prefixed == STREAM_PREFIX;
		struct iovec places[] = {
			{ backend->prefix + backend->prefixed, STREAM_PREFIX - backend->prefixed },
			{ frame + header + backend->received,
			  body ? length - backend->received : 0 },
			{ backend->following, body && next ? STREAM_PREFIX : 0 },
		};
		struct msghdr message = { .msg_iov = places, .msg_iovlen = 3 };
		ssize_t got = recvmsg(backend->fd, &message, MSG_DONTWAIT);

		if (got < 0 && is_full(errno))
			return 0;
		if (got <= 0) {
			lose(backend);
			return 0;
		}
		if (!body) {
			backend->prefixed += (uint32_t)got;
		} else if (backend->received + (uint32_t)got > length) {
			backend->followed = backend->received + (uint32_t)got - length;
			backend->received = length;
		} else {
			backend->received += (uint32_t)got;
		}
	}
}

uint32_t molt_net_backend_read(struct molt_net_backend *backend, uint8_t *frame, uint32_t header)
{
	ssize_t got;

	switch (backend->lost ? MOLT_NET_NONE : backend->kind) {
	case MOLT_NET_TAP:
		got = read(backend->fd, frame, FRAME_MAXIMUM);
		if (got < 0 && !is_full(errno))
			lose(backend);
		return got > (ssize_t)header ? (uint32_t)got : 0;
	case MOLT_NET_PLAIN_TAP:
		memset(frame, 0, header);
		got = read(backend->fd, frame + header, FRAME_MAXIMUM - header);
		if (got < 0 && !is_full(errno))
			lose(backend);
		return got > 0 ? header + (uint32_t)got : 0;
	case MOLT_NET_STREAM:
		memset(frame, 0, header);
		return read_stream(backend, frame, header, true);
	case MOLT_NET_DATAGRAM:
		memset(frame, 0, header);
		got = recv(backend->fd, frame + header, FRAME_MAXIMUM - header, MSG_DONTWAIT);
		return got > 0 ? header + (uint32_t)got : 0;
	default:
		return 0;
	}
}

bool molt_net_backend_send_rest(struct molt_net_backend *backend)
{
	while (backend->unsent > 0) {
		ssize_t put = send(backend->fd, backend->output + backend->sent, backend->unsent,
				   MSG_DONTWAIT | MSG_NOSIGNAL);

		if (put < 0 && is_full(errno))
			return false;
		if (put < 0) {
			backend->unsent = 0;
			lose(backend);
			break;
		}
		backend->sent += (uint32_t)put;
		backend->unsent -= (uint32_t)put;
	}
	return true;
}

/* Takes a frame over. False: the one before has not gone yet. */
static bool send_to_stream(struct molt_net_backend *backend, const struct iovec *iov,
			   uint32_t count)
{
	uint64_t length = molt_iov_length(iov, count);
	uint32_t prefix;

	if (!molt_net_backend_send_rest(backend))
		return false;
	if (backend->lost || length > FRAME_MAXIMUM)
		return true;
	prefix = htobe32((uint32_t)length);
	memcpy(backend->output, &prefix, sizeof prefix);
	molt_iov_read(iov, count, backend->output + STREAM_PREFIX, length);
	backend->sent = 0;
	backend->unsent = STREAM_PREFIX + (uint32_t)length;
	molt_net_backend_send_rest(backend); /* the rest follows when it can */
	return true;
}

bool molt_net_backend_send(struct molt_net_backend *backend, struct iovec *iov, uint32_t count)
{
	struct msghdr message = { 0 };

	switch (backend->kind) {
	case MOLT_NET_TAP:
	case MOLT_NET_PLAIN_TAP:
		/* What the interface does not like is lost, as on a wire. */
		return writev(backend->fd, iov, (int)count) >= 0 || !is_full(errno);
	case MOLT_NET_STREAM:
		return send_to_stream(backend, iov, count);
	case MOLT_NET_DATAGRAM:
		message.msg_iov = iov;
		message.msg_iovlen = count;
		if (backend->peer_length > 0) {
			message.msg_name = &backend->peer;
			message.msg_namelen = backend->peer_length;
		}
		return sendmsg(backend->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
		       !is_full(errno);
	default:
		return true;
	}
}

bool molt_net_backend_in_frame(const struct molt_net_backend *backend)
{
	return backend->kind == MOLT_NET_STREAM && !backend->lost && backend->prefixed > 0;
}

/* Waits for more. The connection is lost if it is not there at `deadline`. */
static void settle(struct molt_net_backend *backend, short events, int64_t deadline)
{
	struct pollfd place = { .fd = backend->fd, .events = events };
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);

	int64_t left = deadline - (now.tv_sec * INT64_C(1000000000) + now.tv_nsec);
	struct timespec timeout = { left / 1000000000, left % 1000000000 };

	if (left <= 0 || ppoll(&place, 1, &timeout, NULL) == 0)
		lose(backend);
}

uint32_t molt_net_backend_settle_input(struct molt_net_backend *backend, uint8_t *frame,
				       uint32_t header, int64_t deadline)
{
	while (molt_net_backend_in_frame(backend)) {
		uint32_t length = read_stream(backend, frame, header, false);

		if (length > 0)
			return length;
		settle(backend, POLLIN, deadline);
	}
	return 0;
}

void molt_net_backend_settle_output(struct molt_net_backend *backend, int64_t deadline)
{
	while (backend->kind == MOLT_NET_STREAM && !backend->lost &&
	       !molt_net_backend_send_rest(backend))
		settle(backend, POLLOUT, deadline);
}
