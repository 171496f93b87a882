#ifndef PROGRAM_H
#define PROGRAM_H

#include <stdint.h>

/* What the programs here have in common. */

/* Ends the program with a message on standard error. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define check(condition, ...) \
	do { \
		if (!(condition)) \
			fail(__VA_ARGS__); \
	} while (0)

/*
 * From now on the program has `seconds` for `what`, far more than it needs: what takes longer hangs, and
 * the program fails.
 */
void set_limit(unsigned int seconds, const char *what);

/* A number in [0, limit), of a sequence of its own in each thread. The seed is printed once. */
uint32_t random_below(uint32_t limit);

/* Spends a random time, nearly always less than a few microseconds. */
void dither(void);

/* Rounds to run: argument 1 of the program, otherwise `usual`. */
uint32_t rounds(int argc, char **argv, uint32_t usual);

#endif
