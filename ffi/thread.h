#ifndef MOLT_THREAD_H
#define MOLT_THREAD_H

#include <pthread.h>

/*
 * Starts a thread of the library's own, `name` in lists of threads (up to 15 characters), with all
 * signals blocked: they are for Deno's threads, which wait for them. Returns 0 or -errno.
 */
int molt_thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *argument);

#endif
