#ifndef LATE_CALLS_H
#define LATE_CALLS_H

#include <stdbool.h>

/*
 * Has threads arrive late at the system calls that the C library makes: before some of them a thread
 * sleeps for a random time, as if something else had taken its processor. What comes between a thread's
 * last look and its call is then met in every run and not once in a million.
 */

/* From now on these are late: ioctls with this request; futex waits. 0, false: none. */
void late_ioctl(unsigned long request, unsigned int most_us);
void late_futex(bool late, unsigned int most_us);

#endif
