/*
 * A TCP stream that is sent, sent back, and compared byte by byte. The byte at a position of the
 * stream follows from the position alone.
 */
#define _GNU_SOURCE
#include "worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  CHUNK = 16384,
  /* Bytes that may be under way. */
  WINDOW = 128 * 1024,
  /* Other workers want the processors, too. */
  REST_MICROSECONDS = 30000,
};

static int connect_to(const char *host, const char *port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) fail("not an address: %s", host);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
    fail("cannot connect to %s:%s", host, port);
  }
  return fd;
}

/* The bytes of the stream from `position`, which is a multiple of CHUNK. */
static void chunk_at(uint8_t *bytes, uint64_t position) {
  fill(bytes, CHUNK, scramble(position));
}

/* Sends until the window is full or the socket is. Returns how far the stream has been sent. */
static uint64_t send_some(int fd, uint64_t sent, uint64_t received) {
  static uint8_t chunk[CHUNK];
  static uint64_t chunk_position = UINT64_MAX;
  while (sent - received < WINDOW) {
    uint64_t start = sent - sent % CHUNK;
    if (start != chunk_position) chunk_at(chunk, chunk_position = start);
    ssize_t count = send(fd, chunk + sent % CHUNK, CHUNK - sent % CHUNK, MSG_DONTWAIT);
    // An error of the connection is reported by the next recv, too.
    if (count < 0) break;
    sent += (uint64_t)count;
  }
  return sent;
}

/* Counts bytes that came back as they were sent. */
int run_stream(int argc, char **argv) {
  (void)argc;
  signal(SIGPIPE, SIG_IGN);
  int fd = connect_to(argv[1], argv[2]);
  struct worker *worker = worker_start(argv[0]);
  static uint8_t got[CHUNK], expected[CHUNK];
  uint64_t sent = 0, received = 0;
  for (;;) {
    sent = send_some(fd, sent, received);
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    if (sent - received < WINDOW) waiting.events |= POLLOUT;
    if (poll(&waiting, 1, -1) < 0 || !(waiting.revents & (POLLIN | POLLERR | POLLHUP))) continue;
    ssize_t count = recv(fd, got, CHUNK - received % CHUNK, MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN) continue;
    if (count <= 0) {
      worker_error(worker, "the connection ended after %llu bytes: %s",
                   (unsigned long long)received, count < 0 ? strerror(errno) : "closed");
      return 1;
    }
    chunk_at(expected, received - received % CHUNK);
    if (memcmp(got, expected + received % CHUNK, (size_t)count) != 0) {
      worker_error(worker, "wrong bytes after %llu", (unsigned long long)received);
      return 1;
    }
    received += (uint64_t)count;
    worker->progress = received;
    usleep(REST_MICROSECONDS);
  }
}

static void send_back(int fd) {
  static uint8_t bytes[CHUNK];
  for (;;) {
    ssize_t count = recv(fd, bytes, sizeof bytes, 0);
    if (count <= 0) exit(0);
    for (ssize_t done = 0; done < count;) {
      ssize_t more = send(fd, bytes + done, (size_t)(count - done), MSG_NOSIGNAL);
      if (more <= 0) exit(0);
      done += more;
    }
  }
}

/* Sends back on every connection what comes from it; never returns. */
int serve_streams(int argc, char **argv) {
  (void)argc;
  signal(SIGCHLD, SIG_IGN);
  int server = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)atoi(argv[0]))};
  setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(server, (struct sockaddr *)&address, sizeof address) < 0 || listen(server, 8) < 0) {
    fail("cannot listen on port %s", argv[0]);
  }
  for (;;) {
    int fd = accept(server, NULL, NULL);
    if (fd < 0) continue;
    if (fork() == 0) {
      close(server);
      send_back(fd);
    }
    close(fd);
  }
}
