#ifndef MOLT_VIRTIO_NET_BACKEND_H
#define MOLT_VIRTIO_NET_BACKEND_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

/*
 * The host's side of virtio-net: a tap interface, whose frames may have a virtio header, so that
 * checksums and segmentation are left to who does them best; or a stream socket (a big-endian length of
 * 32 bits before each frame) or a datagram socket, without header.
 *
 * A stream may be left in the middle of a frame, in both directions, and is taken up there again. One
 * thread uses a backend at a time.
 */

/* The header of drivers that know nothing of merged buffers, and of all others. */
#define MOLT_NET_HEADER_PLAIN sizeof(struct virtio_net_hdr)
#define MOLT_NET_HEADER_MERGED sizeof(struct virtio_net_hdr_mrg_rxbuf)
/* The largest frame with header. */
#define MOLT_NET_FRAME_MAXIMUM (65536 + 4096)
#define MOLT_NET_STREAM_PREFIX 4

enum molt_net_backend_kind {
	MOLT_NET_NONE = 0,
	MOLT_NET_TAP = 1,
	MOLT_NET_STREAM = 2,
	MOLT_NET_DATAGRAM = 3,
	MOLT_NET_PLAIN_TAP = 4, /* frames have no header */
};

struct molt_net_backend {
	enum molt_net_backend_kind kind;
	int fd; /* non-blocking */
	int attention; /* eventfd: the peer of a stream has disconnected */
	bool lost; /* it has */
	struct sockaddr_storage peer; /* where datagrams go */
	uint32_t peer_length; /* 0: the socket is connected */
	uint32_t prefixed; /* bytes of a stream's `prefix` that have come */
	uint32_t received; /* bytes of its frame that have */
	uint32_t followed; /* bytes of `following` that have: the next frame's prefix */
	uint8_t prefix[MOLT_NET_STREAM_PREFIX];
	uint8_t following[MOLT_NET_STREAM_PREFIX];
	uint32_t unsent; /* bytes of `output` that a stream has not taken */
	uint32_t sent; /* bytes of it that it has */
	uint8_t output[MOLT_NET_STREAM_PREFIX + MOLT_NET_FRAME_MAXIMUM];
};

/* Takes up another descriptor, at the beginning of a frame. The descriptor stays the caller's. */
void molt_net_backend_connect(struct molt_net_backend *backend, enum molt_net_backend_kind kind,
			      int fd, const void *peer, uint32_t peer_length);

/*
 * Reads a frame into `frame`, of MOLT_NET_FRAME_MAXIMUM bytes, with a header of `header` bytes. Returns
 * its length, 0: none. What a stream has of a frame stays in `frame`.
 */
uint32_t molt_net_backend_read(struct molt_net_backend *backend, uint8_t *frame, uint32_t header);

/* Sends a frame; `iov` is without header but at a tap. False: the host's side is full. */
bool molt_net_backend_send(struct molt_net_backend *backend, struct iovec *iov, uint32_t count);

/* Sends what a stream did not take before. False: it is still full. */
bool molt_net_backend_send_rest(struct molt_net_backend *backend);

/* Whether a part of a stream's next frame has been read. */
bool molt_net_backend_in_frame(const struct molt_net_backend *backend);

/*
 * Bring a stream to the end of a frame in one direction, so that a successor can go on with it: wait
 * for the rest of the frame, which is returned as molt_net_backend_read does, or for room for it. At
 * `deadline` (ns of CLOCK_MONOTONIC) the connection is lost, however little was missing.
 */
uint32_t molt_net_backend_settle_input(struct molt_net_backend *backend, uint8_t *frame,
				       uint32_t header, int64_t deadline);
void molt_net_backend_settle_output(struct molt_net_backend *backend, int64_t deadline);

#endif
