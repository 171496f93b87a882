/* System calls that are made late (see late_calls.h). */
#define _GNU_SOURCE
#include "late_calls.h"

#include <dlfcn.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "program.h"

static int (*real_ioctl)(int, unsigned long, ...);
static long (*real_syscall)(long, ...);
static _Atomic unsigned long ioctl_request;
static _Atomic unsigned int ioctl_delay;
static _Atomic unsigned int futex_delay;

__attribute__((constructor)) static void find_real_calls(void)
{
	*(void **)&real_ioctl = dlsym(RTLD_NEXT, "ioctl");
	*(void **)&real_syscall = dlsym(RTLD_NEXT, "syscall");
}

void late_ioctl(unsigned long request, unsigned int most_us)
{
	atomic_store(&ioctl_request, request);
	atomic_store(&ioctl_delay, most_us);
}

void late_futex(bool late, unsigned int most_us)
{
	atomic_store(&futex_delay, late ? most_us : 0);
}

/* A signal ends the sleep, as it would interrupt the thread. */
static void be_late(unsigned int most_us)
{
	struct timespec time = { 0, (long)random_below(most_us + 1) * 1000 };

	if (random_below(2) == 0)
		nanosleep(&time, NULL);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;

	va_start(arguments, request);

	void *argument = va_arg(arguments, void *);

	va_end(arguments);
	if (request == atomic_load(&ioctl_request) && atomic_load(&ioctl_delay) > 0)
		be_late(atomic_load(&ioctl_delay));
	return real_ioctl(fd, request, argument);
}

long syscall(long number, ...)
{
	long values[6];
	va_list arguments;

	va_start(arguments, number);
	for (int i = 0; i < 6; i++)
		values[i] = va_arg(arguments, long);
	va_end(arguments);
	if (number == SYS_futex && ((int)values[1] & FUTEX_CMD_MASK) == FUTEX_WAIT &&
	    atomic_load(&futex_delay) > 0)
		be_late(atomic_load(&futex_delay));
	return real_syscall(number, values[0], values[1], values[2], values[3], values[4], values[5]);
}
