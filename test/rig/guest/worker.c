/* The workers' reports, and the pseudo-random bytes that they write, send and compare. */
#define _GNU_SOURCE
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("rig: ", stderr);
  vfprintf(stderr, format, arguments);
  fprintf(stderr, ": %s\n", strerror(errno));
  exit(1);
}

static void path_of(char path[64], const char *name) {
  snprintf(path, 64, "/run/rig-%s", name);
}

/* Maps the file at `path`, whose descriptor is closed. */
static struct worker *map(int fd, const char *path) {
  struct worker *worker =
      mmap(NULL, sizeof *worker, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (worker == MAP_FAILED) fail("cannot map %s", path);
  close(fd);
  return worker;
}

struct worker *worker_start(const char *name) {
  char path[64];
  path_of(path, name);
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
  if (fd < 0 || ftruncate(fd, sizeof(struct worker)) < 0) fail("cannot make %s", path);
  struct worker *worker = map(fd, path);
  snprintf(worker->name, sizeof worker->name, "%s", name);
  if (daemon(1, 1) < 0) fail("cannot go into the background");
  worker->process = getpid();
  return worker;
}

int worker_stop(const char *name) {
  char path[64];
  path_of(path, name);
  int fd = open(path, O_RDWR);
  if (fd < 0) fail("cannot open %s", path);
  struct worker *worker = map(fd, path);
  if (worker->process == 0 || kill(worker->process, SIGKILL) < 0) fail("cannot end %s", name);
  return unlink(path) < 0;
}

void worker_error(struct worker *worker, const char *format, ...) {
  if (__atomic_fetch_add(&worker->errors, 1, __ATOMIC_RELAXED) > 0) return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(worker->first_error, sizeof worker->first_error, format, arguments);
  va_end(arguments);
}

uint64_t monotonic(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* SplitMix64. */
uint64_t scramble(uint64_t value) {
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

void fill(void *bytes, size_t length, uint64_t seed) {
  uint64_t *words = bytes;
  for (size_t i = 0; i < length / sizeof *words; i++) words[i] = scramble(seed + i);
}
