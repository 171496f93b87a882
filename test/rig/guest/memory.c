/* Writes memory and reads it again: each page holds what follows from its number and its generation. */
#define _GNU_SOURCE
#include "worker.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES_AT_ONCE = 64, REST_MICROSECONDS = 30000 };

/* Counts pages that were compared and written. */
int run_memory(int argc, char **argv) {
  (void)argc;
  size_t pages = (size_t)atoi(argv[0]) * 1024 * 1024 / PAGE;
  struct worker *worker = worker_start("memory");
  uint8_t *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (pages == 0 || memory == MAP_FAILED) {
    worker_error(worker, "no memory");
    return 1;
  }
  uint64_t expected[PAGE / sizeof(uint64_t)];
  // The first round compares with what the kernel gave: zeros.
  for (uint64_t generation = 0;; generation++) {
    for (size_t i = 0; i < pages; i++) {
      uint8_t *page = memory + i * PAGE;
      memset(expected, 0, sizeof expected);
      if (generation > 0) fill(expected, PAGE, scramble(i) ^ (generation - 1));
      if (memcmp(page, expected, PAGE) != 0) {
        worker_error(worker, "page %zu is wrong in round %llu", i, (unsigned long long)generation);
      }
      fill(page, PAGE, scramble(i) ^ generation);
      __atomic_fetch_add(&worker->progress, 1, __ATOMIC_RELAXED);
      if (i % PAGES_AT_ONCE == 0) usleep(REST_MICROSECONDS);
    }
  }
}
