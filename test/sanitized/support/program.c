/* What the programs here have in common (see program.h). */
#define _GNU_SOURCE
#include "program.h"

#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic(const char *) limited;
static _Atomic uint32_t threads;
static _Atomic uint32_t seed;
static _Thread_local uint32_t state;

void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

static void on_alarm(int number)
{
	const char *what = atomic_load(&limited);

	(void)number;
	(void)!write(2, "hangs: ", 7);
	(void)!write(2, what, strlen(what));
	(void)!write(2, "\n", 1);
	_exit(1);
}

void set_limit(unsigned int seconds, const char *what)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	atomic_store(&limited, what);
	signal(SIGALRM, on_alarm);
	alarm(seconds);
}

static uint32_t find_seed(void)
{
	uint32_t none = 0, found = (uint32_t)time(NULL);
	const char *given = getenv("MOLT_SEED");

	if (given)
		found = (uint32_t)strtoul(given, NULL, 0);
	if (atomic_compare_exchange_strong(&seed, &none, found | 1))
		printf("seed %u\n", found | 1);
	return atomic_load(&seed);
}

uint32_t random_below(uint32_t limit)
{
	if (state == 0)
		state = find_seed() * 2654435761u + atomic_fetch_add(&threads, 1) * 40503u + 1;
	/* xorshift32 */
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state % limit;
}

void dither(void)
{
	uint32_t kind = random_below(16);

	if (kind == 0) {
		sched_yield();
	} else if (kind == 1) {
		usleep(random_below(200));
	} else {
		for (uint32_t i = random_below(400); i > 0; i--)
			__builtin_ia32_pause();
	}
}

uint32_t rounds(int argc, char **argv, uint32_t usual)
{
	return argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : usual;
}
