/*
 * Reads every clock on every CPU and holds each reading against the latest of any CPU: a reading that
 * began after another one ended must not be earlier.
 */
#define _GNU_SOURCE
#include "worker.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

enum { READINGS = 200, REST_MICROSECONDS = 40000 };

/* A clock and the latest time that any CPU has read from it. */
struct clock {
  const char *name;
  /* -1: the time stamp counter. */
  clockid_t id;
  uint64_t latest;
};

static struct clock clocks[] = {
    {"CLOCK_MONOTONIC", CLOCK_MONOTONIC, 0},   {"CLOCK_MONOTONIC_RAW", CLOCK_MONOTONIC_RAW, 0},
    {"CLOCK_BOOTTIME", CLOCK_BOOTTIME, 0},     {"CLOCK_REALTIME", CLOCK_REALTIME, 0},
    {"the time stamp counter", (clockid_t)-1, 0},
};

static struct worker *worker;

/* In nanoseconds, or in cycles. */
static uint64_t read_clock(clockid_t id) {
  if (id == (clockid_t)-1) {
    _mm_lfence();
    uint64_t now = __rdtsc();
    _mm_lfence();
    return now;
  }
  struct timespec now;
  clock_gettime(id, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void check_clock(struct clock *clock, int cpu) {
  uint64_t before = __atomic_load_n(&clock->latest, __ATOMIC_SEQ_CST);
  uint64_t now = read_clock(clock->id);
  if (now < before) {
    worker_error(worker, "%s went back by %llu on CPU %d", clock->name,
                 (unsigned long long)(before - now), cpu);
    return;
  }
  if (clock->id == CLOCK_MONOTONIC && before != 0 && now - before > worker->detail) {
    worker->detail = now - before;
  }
  while (before < now && !__atomic_compare_exchange_n(&clock->latest, &before, now, false,
                                                      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
  }
}

static void *read_clocks(void *argument) {
  int cpu = (int)(intptr_t)argument;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) < 0) {
    worker_error(worker, "no CPU %d", cpu);
    return NULL;
  }
  for (;;) {
    for (int i = 0; i < READINGS; i++) {
      for (size_t c = 0; c < sizeof clocks / sizeof *clocks; c++) check_clock(&clocks[c], cpu);
    }
    __atomic_fetch_add(&worker->progress, READINGS, __ATOMIC_RELAXED);
    usleep(REST_MICROSECONDS);
  }
}

/* Counts readings; the detail is the longest time between two, in nanoseconds. */
int run_clocks(int argc, char **argv) {
  (void)argc, (void)argv;
  worker = worker_start("clocks");
  long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  for (long cpu = 1; cpu < cpus; cpu++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, read_clocks, (void *)cpu) != 0) {
      worker_error(worker, "cannot create a thread");
    }
  }
  read_clocks(0);
  return 0;
}
