/*
 * The other side of a network card for bench/virtio.ts: answers frames as test/guests/virtio_net.S says.
 *
 *   net_peer stream PATH     listens at PATH; each frame is behind its length (-netdev stream)
 *   net_peer packet NAME     the host's side of the interface NAME, such as a tap
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TYPE_ECHO 0x88b5
#define TYPE_REQUEST 0x88b6
#define TYPE_ANSWER 0x88b7
#define HEADER 14
#define FRAME_MAXIMUM 2048
#define BUFFER (1 << 20)

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static unsigned type_of(const uint8_t *frame)
{
	return (unsigned)(frame[12] << 8 | frame[13]);
}

/* How many frames of how many bytes are asked for. */
static void read_request(const uint8_t *frame, uint32_t *count, uint32_t *size)
{
	memcpy(count, frame + HEADER, sizeof *count);
	memcpy(size, frame + HEADER + 4, sizeof *size);
	if (*size < HEADER || *size > FRAME_MAXIMUM)
		*size = HEADER;
}

static void make_answer(uint8_t *frame, uint32_t size)
{
	memset(frame, 0, size);
	memset(frame, 0xff, 6);
	frame[6] = 2;
	frame[12] = TYPE_ANSWER >> 8;
	frame[13] = TYPE_ANSWER & 0xff;
}

static void send_all(int fd, const uint8_t *bytes, size_t length)
{
	while (length > 0) {
		ssize_t put = send(fd, bytes, length, MSG_NOSIGNAL);

		if (put < 0)
			exit(0); /* the card is gone */
		bytes += put;
		length -= (size_t)put;
	}
}

static void flood_stream(int fd, uint32_t count, uint32_t size)
{
	static uint8_t bytes[BUFFER];
	uint32_t step = size + 4;
	uint32_t fit = BUFFER / step;
	uint32_t prefix = htonl(size);

	for (uint32_t i = 0; i < fit; i++) {
		memcpy(bytes + i * step, &prefix, 4);
		make_answer(bytes + i * step + 4, size);
	}
	while (count > 0) {
		uint32_t now = count < fit ? count : fit;

		send_all(fd, bytes, (size_t)now * step);
		count -= now;
	}
}

static void serve_stream(int fd)
{
	static uint8_t in[BUFFER], out[BUFFER];
	size_t filled = 0;

	for (;;) {
		ssize_t got = recv(fd, in + filled, sizeof in - filled, 0);
		size_t at = 0, echoed = 0;

		if (got <= 0)
			exit(0);
		filled += (size_t)got;
		while (filled - at >= 4) {
			uint32_t length, count, size;

			memcpy(&length, in + at, 4);
			length = ntohl(length);
			if (filled - at < 4 + (size_t)length)
				break;
			if (length >= HEADER + 8 && type_of(in + at + 4) == TYPE_ECHO) {
				memcpy(out + echoed, in + at, 4 + length);
				echoed += 4 + length;
			} else if (length >= HEADER + 8 && type_of(in + at + 4) == TYPE_REQUEST) {
				read_request(in + at + 4, &count, &size);
				flood_stream(fd, count, size);
			}
			at += 4 + length;
		}
		send_all(fd, out, echoed);
		memmove(in, in + at, filled - at);
		filled -= at;
	}
}

static void listen_stream(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
	    listen(listener, 16) < 0)
		fail(path);
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			fail("accept");
		if (fork() == 0)
			serve_stream(fd);
		close(fd);
	}
}

static void send_packet(int fd, const uint8_t *frame, size_t length)
{
	/* The interface's queue may be full. */
	while (send(fd, frame, length, 0) < 0) {
		if (errno != ENOBUFS && errno != EAGAIN)
			fail("send");
		usleep(10);
	}
}

static void serve_packets(const char *name)
{
	static uint8_t frame[FRAME_MAXIMUM], answer[FRAME_MAXIMUM];
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(name),
	};
	int size = 1 << 22, one = 1;
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
		fail(name);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
	for (;;) {
		ssize_t got = recv(fd, frame, sizeof frame, 0);
		uint32_t count, length;

		if (got < 0 && errno == ENETDOWN)
			continue;
		if (got < 0)
			fail("recv");
		if (got < HEADER + 8)
			continue;
		if (type_of(frame) == TYPE_ECHO) {
			send_packet(fd, frame, (size_t)got);
		} else if (type_of(frame) == TYPE_REQUEST) {
			read_request(frame, &count, &length);
			make_answer(answer, length);
			while (count-- > 0)
				send_packet(fd, answer, length);
		}
	}
}

int main(int count, char **arguments)
{
	if (count != 3)
		return 2;
	if (strcmp(arguments[1], "stream") == 0)
		listen_stream(arguments[2]);
	else
		serve_packets(arguments[2]);
	return 0;
}
