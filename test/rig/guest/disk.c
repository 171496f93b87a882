/*
 * A checksumming disk writer. Every 4 KiB block that it writes holds its number, how often it has
 * been written, and bytes that follow from both; it knows what each block has to hold and compares
 * whenever it reads. All accesses bypass the page cache.
 *
 * Several processes share the disk, each with a range of its own, so that requests overlap.
 */
#define _GNU_SOURCE
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 4096, MOST_BLOCKS = 16, PROCESSES = 3, REST_MICROSECONDS = 20000 };

struct block {
  uint64_t number;
  /* 0: never written. */
  uint64_t generation;
  uint8_t content[BLOCK - 16];
};

static void make_block(struct block *block, uint64_t number, uint64_t generation) {
  block->number = number;
  block->generation = generation;
  fill(block->content, sizeof block->content, scramble(number) ^ generation);
}

/* What there is to say against a block; NULL: nothing. */
static const char *fault(const struct block *block, uint64_t number) {
  struct block expected;
  if (block->generation == 0) {
    memset(&expected, 0, sizeof expected);
  } else {
    make_block(&expected, number, block->generation);
  }
  if (block->number != expected.number) return "it holds another block";
  return memcmp(block, &expected, BLOCK) == 0 ? NULL : "its bytes are wrong";
}

static void compare(struct worker *worker, const struct block *blocks, uint64_t first, size_t count,
                    const uint64_t *generations) {
  for (size_t i = 0; i < count; i++) {
    const char *text = fault(&blocks[i], first + i);
    if (text == NULL && blocks[i].generation != generations[i]) text = "it holds an old content";
    if (text == NULL) continue;
    worker_error(worker, "block %llu: %s: number %llu, generation %llu instead of %llu",
                 (unsigned long long)(first + i), text, (unsigned long long)blocks[i].number,
                 (unsigned long long)blocks[i].generation, (unsigned long long)generations[i]);
  }
}

/* Works on `count` blocks from `first` for ever. */
static void work(struct worker *worker, int fd, uint64_t first, uint64_t count) {
  uint64_t *generations = calloc(count, sizeof *generations);
  struct block *blocks = NULL;
  if (generations == NULL || posix_memalign((void **)&blocks, BLOCK, MOST_BLOCKS * BLOCK) != 0) {
    fail("no memory");
  }
  for (uint64_t step = 1;; step++) {
    uint64_t random = scramble(step ^ (first << 32));
    size_t length = 1 + random % MOST_BLOCKS;
    uint64_t at = (random >> 8) % (count - length);
    size_t bytes = length * BLOCK;
    off_t offset = (off_t)((first + at) * BLOCK);
    bool writes = random >> 63;
    ssize_t done;
    if (writes) {
      for (size_t i = 0; i < length; i++) {
        make_block(&blocks[i], first + at + i, ++generations[at + i]);
      }
      done = pwrite(fd, blocks, bytes, offset);
    } else {
      done = pread(fd, blocks, bytes, offset);
    }
    if (done != (ssize_t)bytes) {
      worker_error(worker, "%s %zu bytes at %lld: %s", writes ? "writing" : "reading", bytes,
                   (long long)offset, done < 0 ? strerror(errno) : "not all");
    } else if (!writes) {
      compare(worker, blocks, first + at, length, &generations[at]);
    }
    if (step % 64 == 0 && fdatasync(fd) < 0) {
      worker_error(worker, "flushing: %s", strerror(errno));
    }
    __atomic_fetch_add(&worker->progress, length, __ATOMIC_RELAXED);
    usleep(REST_MICROSECONDS);
  }
}

/* Counts blocks written and read. */
int run_disk(int argc, char **argv) {
  (void)argc;
  int fd = open(argv[0], O_RDWR | O_DIRECT);
  if (fd < 0) fail("cannot open %s", argv[0]);
  off_t size = lseek(fd, 0, SEEK_END);
  if (size < PROCESSES * MOST_BLOCKS * 2 * BLOCK) fail("%s is too small", argv[0]);
  uint64_t share = (uint64_t)size / BLOCK / PROCESSES;
  struct worker *worker = worker_start("disk");
  for (uint64_t i = 1; i < PROCESSES; i++) {
    if (fork() == 0) work(worker, fd, i * share, share);
  }
  work(worker, fd, 0, share);
  return 0;
}

/* Prints how many blocks the writer has written; fails if one of them is not as it wrote it. */
int check_disk(int argc, char **argv) {
  (void)argc;
  FILE *file = fopen(argv[0], "r");
  if (file == NULL) fail("cannot open %s", argv[0]);
  struct block block;
  uint64_t number = 0, written = 0, wrong = 0;
  for (; fread(&block, BLOCK, 1, file) == 1; number++) {
    const char *text = fault(&block, number);
    if (block.generation != 0) written++;
    if (text == NULL) continue;
    if (wrong++ == 0) printf("block %llu: %s\n", (unsigned long long)number, text);
  }
  printf("%llu blocks written, %llu wrong\n", (unsigned long long)written,
         (unsigned long long)wrong);
  fclose(file);
  return wrong == 0 && written > 0 ? 0 : 1;
}
