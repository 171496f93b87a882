/* What the programs that work in a guest share. */
#ifndef WORKER_H
#define WORKER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a worker reports of itself: a file that it maps, which `rig status` reads at any time. */
struct worker {
  char name[16];
  /* Counts up as long as the worker makes progress; what it counts is the worker's affair. */
  uint64_t progress;
  uint64_t errors;
  /* A number worth printing: see each worker. */
  uint64_t detail;
  /* The first of its processes. */
  int32_t process;
  char first_error[200];
};

/* Makes the file of the worker `name` and leaves the calling process in the background. */
struct worker *worker_start(const char *name);

/* Ends the worker `name`, which has one process, and removes what it recorded. Returns an exit status. */
int worker_stop(const char *name);

/* Counts an error and keeps the text of the first. */
void worker_error(struct worker *worker, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Ends the program with a message: for what has to work before any test begins. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Nanoseconds on CLOCK_MONOTONIC. */
uint64_t monotonic(void);

/* Bytes that depend on nothing but `seed`. `length` is a multiple of 8. */
void fill(void *bytes, size_t length, uint64_t seed);

/* One step of a generator of pseudo-random numbers. */
uint64_t scramble(uint64_t value);

/* The subcommands: see rig.c. Each returns an exit status. */
int run_disk(int argc, char **argv);
int check_disk(int argc, char **argv);
int run_stream(int argc, char **argv);
int serve_streams(int argc, char **argv);
int run_memory(int argc, char **argv);
int run_clocks(int argc, char **argv);
#endif
