/* Threads of the library's own (see thread.h), and what can be said of others. */
#include "molt.h"

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "thread.h"

int molt_thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *argument)
{
	sigset_t blocked, before;

	sigfillset(&blocked);
	/* A fault that comes while its signal is blocked ends the process (see memory_guard.c). */
	sigdelset(&blocked, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &blocked, &before);

	int error = pthread_create(thread, NULL, run, argument);

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return -error;
	pthread_setname_np(*thread, name);
	return 0;
}

/* True if the name of this process's thread `id`, both in text, begins with `name`. */
static int is_called(const char *id, const char *name)
{
	char path[64], line[32] = "";

	snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", id);

	FILE *file = fopen(path, "re");

	if (!file)
		return 0;

	int is = fgets(line, sizeof line, file) && strncmp(line, name, strlen(name)) == 0;

	fclose(file);
	return is;
}

/*
 * Gives this process's threads whose name begins with `name` the policy SCHED_BATCH: one that is woken
 * takes the processor from nobody (sched(7)). Returns how many there are, or -errno.
 */
MOLT_EXPORT int32_t molt_schedule_as_batch(const char *name)
{
	const struct sched_param parameters = { 0 };
	DIR *threads = opendir("/proc/self/task");
	int32_t count = 0;

	if (!threads)
		return -errno;
	for (struct dirent *entry; (entry = readdir(threads)) != NULL;)
		if (is_called(entry->d_name, name))
			count += !sched_setscheduler(atoi(entry->d_name), SCHED_BATCH, &parameters);
	closedir(threads);
	return count;
}
