/* Threads of the library's own (see thread.h). */
#include "molt.h"

#include <signal.h>

#include "thread.h"

int molt_thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *argument)
{
	sigset_t blocked, before;

	sigfillset(&blocked);
	pthread_sigmask(SIG_SETMASK, &blocked, &before);

	int error = pthread_create(thread, NULL, run, argument);

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return -error;
	pthread_setname_np(*thread, name);
	return 0;
}
