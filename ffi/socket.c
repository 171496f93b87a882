/* Sockets, and descriptors that travel over them. Addresses are struct sockaddr bytes. */
#include "molt.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "thread_functions.h"

/* A close-on-exec, non-blocking socket: AF_* `domain`, SOCK_* `type`. */
MOLT_EXPORT int32_t molt_socket(int32_t domain, int32_t type)
{
	return molt_status(socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

/* A connected pair of non-blocking AF_UNIX sockets of `type` in ends[0] and ends[1]. */
MOLT_EXPORT int32_t molt_socketpair(int32_t type, int32_t *ends)
{
	return molt_status(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends));
}

MOLT_EXPORT int32_t molt_bind(int32_t fd, const void *address, uint32_t length)
{
	return molt_status(bind(fd, address, length));
}

/*
 * Binds and listens, one right after the other: a unix socket's file is there from the first moment
 * on, and who finds it will connect.
 */
MOLT_EXPORT int32_t molt_listen(int32_t fd, const void *address, uint32_t length, int32_t backlog)
{
	if (bind(fd, address, length) < 0)
		return -errno;
	return molt_status(listen(fd, backlog));
}

/* The next connection, close-on-exec and non-blocking; -EAGAIN if none waits. */
MOLT_EXPORT int32_t molt_accept(int32_t fd)
{
	return molt_status(accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

/* Starts connecting: -EINPROGRESS until the socket becomes writable; then ask molt_socket_error. */
MOLT_EXPORT int32_t molt_connect(int32_t fd, const void *address, uint32_t length)
{
	return molt_status(connect(fd, address, length));
}

/* ms between looks at `cancel` below. */
#define CONNECT_SLICE 100

/*
 * Connects the unix socket `fd`, waiting for a place in the listener's queue: a socket that does not
 * wait gets -EAGAIN there, and nothing says when to try again. 0; -ETIMEDOUT after `limit` ms; -ECANCELED
 * soon after the eventfd `cancel` became readable; another -errno.
 */
int32_t molt_connect_patiently(int32_t fd, const void *address, uint32_t length, int32_t cancel,
			       int64_t limit)
{
	struct timeval slice = { .tv_usec = CONNECT_SLICE * 1000 }, none = { 0 };
	int flags = fcntl(fd, F_GETFL);
	int32_t error = -EAGAIN;

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &slice, sizeof slice) < 0)
		return -errno;
	while (error == -EAGAIN || error == -EINTR) {
		struct pollfd cancelled = { .fd = cancel, .events = POLLIN };

		error = connect(fd, address, length) < 0 ? -errno : 0;
		limit -= CONNECT_SLICE;
		if (error == -EAGAIN && poll(&cancelled, 1, 0) > 0)
			error = -ECANCELED;
		else if (error == -EAGAIN && limit <= 0)
			error = -ETIMEDOUT;
	}
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none);
	fcntl(fd, F_SETFL, flags);
	return error;
}

/* 0, or the -errno of a connection attempt that failed. */
MOLT_EXPORT int32_t molt_socket_error(int32_t fd)
{
	int error = 0;
	socklen_t length = sizeof error;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		return -errno;
	return -error;
}

MOLT_EXPORT int32_t molt_socket_option(int32_t fd, int32_t level, int32_t option, int32_t value)
{
	return molt_status(setsockopt(fd, level, option, &value, sizeof value));
}

/*
 * Joins the IPv4 multicast group at the interface with address `interface` (0.0.0.0: any), and has what
 * is sent go out there and come back to other sockets of this host. Both are 4 bytes in network order.
 */
MOLT_EXPORT int32_t molt_join_group(int32_t fd, const void *group, const void *interface)
{
	struct ip_mreq request;
	uint8_t loop = 1;

	memcpy(&request.imr_multiaddr, group, 4);
	memcpy(&request.imr_interface, interface, 4);
	if (setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request) < 0 ||
	    setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &loop, sizeof loop) < 0)
		return -errno;
	if (request.imr_interface.s_addr != 0 &&
	    setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &request.imr_interface, 4) < 0)
		return -errno;
	return 0;
}

/* The value of an integer socket option, or -errno. */
MOLT_EXPORT int32_t molt_get_socket_option(int32_t fd, int32_t level, int32_t option)
{
	int value = 0;
	socklen_t length = sizeof value;

	if (getsockopt(fd, level, option, &value, &length) < 0)
		return -errno;
	return value;
}

/* SHUT_RD 0, SHUT_WR 1, SHUT_RDWR 2. */
MOLT_EXPORT int32_t molt_shutdown(int32_t fd, int32_t how)
{
	return molt_status(shutdown(fd, how));
}

/* The socket's own (peer 0) or its peer's (1) address in `address` (`size` bytes). Returns its length. */
MOLT_EXPORT int32_t molt_socket_name(int32_t fd, int32_t peer, void *address, uint32_t size)
{
	socklen_t length = size;
	int outcome = peer ? getpeername(fd, address, &length) : getsockname(fd, address, &length);

	return outcome < 0 ? -errno : (int32_t)length;
}

/* Room for one address in what molt_resolve fills. */
#define ADDRESS_SLOT 32

/*
 * Looks up `host` and `service` for stream sockets of AF_* `family` (0: any) and writes the addresses
 * to `addresses`, 32 bytes for each, at most `room` of them. `passive` 1 for addresses to listen on.
 * Returns how many there are, or the negative EAI_* code minus 1000 (to keep it apart from -errno).
 */
int32_t molt_resolve(const char *host, const char *service, int32_t passive,
				 int32_t family, void *addresses, uint32_t room)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_family = family,
				  .ai_flags = passive ? AI_PASSIVE : AI_ADDRCONFIG };
	struct addrinfo *found;
	int error = getaddrinfo(*host ? host : NULL, service, &hints, &found);
	uint32_t count = 0;

	if (error)
		return error < 0 ? error - 1000 : -error - 1000;
	for (struct addrinfo *entry = found; entry && count < room; entry = entry->ai_next) {
		if (entry->ai_addrlen > ADDRESS_SLOT)
			continue;
		memcpy((char *)addresses + ADDRESS_SLOT * count, entry->ai_addr,
		       entry->ai_addrlen);
		count++;
	}
	freeaddrinfo(found);
	return (int32_t)count;
}

#define DESCRIPTORS_MAX 16

/*
 * Sends bytes with `count` (at most 16) descriptors attached to the first of them. Never raises
 * SIGPIPE. Returns the bytes sent.
 */
MOLT_EXPORT int64_t molt_send(int32_t fd, const void *buffer, uint64_t length,
			      const int32_t *descriptors, uint32_t count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int32_t))];
	} control = { 0 };
	struct iovec vector = { (void *)(uintptr_t)buffer, length };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };

	if (count > DESCRIPTORS_MAX)
		return -EINVAL;
	if (count > 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int32_t));

		struct cmsghdr *header = CMSG_FIRSTHDR(&message);

		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(count * sizeof(int32_t));
		memcpy(CMSG_DATA(header), descriptors, count * sizeof(int32_t));
	}
	return molt_result(sendmsg(fd, &message, MSG_NOSIGNAL));
}

/*
 * Receives bytes and, into `descriptors` (room for 16), the close-on-exec descriptors that came
 * with them; *count says how many. MSG_* `flags`. Returns the bytes received, 0 at the end;
 * -EMSGSIZE if more descriptors came than there is room for (all of them are closed then).
 */
MOLT_EXPORT int64_t molt_receive(int32_t fd, void *buffer, uint64_t length, int32_t flags,
				 int32_t *descriptors, uint32_t *count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int32_t))];
	} control;
	struct iovec vector = { buffer, length };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1,
				  .msg_control = control.bytes,
				  .msg_controllen = sizeof control.bytes };
	ssize_t received = recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);

	*count = 0;
	if (received < 0)
		return -errno;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header;
	     header = CMSG_NXTHDR(&message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;

		uint32_t carried = (uint32_t)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int32_t));

		memcpy(descriptors + *count, CMSG_DATA(header), carried * sizeof(int32_t));
		*count += carried;
	}
	if (message.msg_flags & MSG_CTRUNC) {
		while (*count > 0)
			close(descriptors[--*count]);
		return -EMSGSIZE;
	}
	return received;
}
