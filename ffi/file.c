/*
 * Files, memfds, mappings, eventfds and timers: one system call each, which begins again if a signal
 * ended it before anything was done (TEMP_FAILURE_RETRY). molt_read and molt_write report that: whoever
 * uses them waits until the descriptor is ready again.
 */
#include "molt.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "thread_functions.h"

/* Opens `path` close-on-exec with O_* `flags`; `mode` for a file that is created. Returns the fd. */
MOLT_EXPORT int32_t molt_open(const char *path, int32_t flags, uint32_t mode)
{
	return molt_status((int)TEMP_FAILURE_RETRY(open(path, flags | O_CLOEXEC, mode)));
}

MOLT_EXPORT int32_t molt_close(int32_t fd)
{
	return molt_status(close(fd));
}

/* Returns the bytes read, 0 at the end. */
MOLT_EXPORT int64_t molt_read(int32_t fd, void *buffer, uint64_t length)
{
	return molt_result(read(fd, buffer, length));
}

MOLT_EXPORT int64_t molt_write(int32_t fd, const void *buffer, uint64_t length)
{
	return molt_result(write(fd, buffer, length));
}

MOLT_EXPORT int64_t molt_pread(int32_t fd, void *buffer, uint64_t length, int64_t offset)
{
	return molt_result(TEMP_FAILURE_RETRY(pread(fd, buffer, length, offset)));
}

MOLT_EXPORT int64_t molt_pwrite(int32_t fd, const void *buffer, uint64_t length, int64_t offset)
{
	return molt_result(TEMP_FAILURE_RETRY(pwrite(fd, buffer, length, offset)));
}

/* Moves the file position: whence 0 from the start, 1 from here, 2 from the end, 3 data, 4 hole. */
MOLT_EXPORT int64_t molt_seek(int32_t fd, int64_t offset, int32_t whence)
{
	return molt_result(lseek(fd, offset, whence));
}

MOLT_EXPORT int32_t molt_truncate(int32_t fd, int64_t length)
{
	return molt_status((int)TEMP_FAILURE_RETRY(ftruncate(fd, length)));
}

/* Reserves (mode 0) or punches (mode 3: FALLOC_FL_PUNCH_HOLE|KEEP_SIZE) a range of a file. */
MOLT_EXPORT int32_t molt_allocate(int32_t fd, int32_t mode, int64_t offset, int64_t length)
{
	return molt_status((int)TEMP_FAILURE_RETRY(fallocate(fd, mode, offset, length)));
}

/* Waits until the file's data is on stable storage. */
int32_t molt_datasync(int32_t fd)
{
	return molt_status((int)TEMP_FAILURE_RETRY(fdatasync(fd)));
}

/* Waits until the file's data and all that is known of it are on stable storage: of a directory, names. */
int32_t molt_sync(int32_t fd)
{
	return molt_status((int)TEMP_FAILURE_RETRY(fsync(fd)));
}

/* Fills a struct stat. */
MOLT_EXPORT int32_t molt_stat(int32_t fd, void *stat)
{
	return molt_status(fstat(fd, stat));
}

/* Fills a struct stat of what is at `path`, which is not followed if it is a symbolic link. */
MOLT_EXPORT int32_t molt_stat_path(const char *path, void *stat)
{
	return (int32_t)molt_result(lstat(path, stat));
}

/* Sets the permissions of an open file. Those of an unbound socket are its file's, less the umask. */
MOLT_EXPORT int32_t molt_set_mode(int32_t fd, uint32_t mode)
{
	return (int32_t)molt_result(fchmod(fd, mode));
}

MOLT_EXPORT int32_t molt_rename(const char *from, const char *to)
{
	return molt_status(rename(from, to));
}

MOLT_EXPORT int32_t molt_unlink(const char *path)
{
	return molt_status(unlink(path));
}

/* Gives the open file `fd` the name `path`, which must not exist (for files opened O_TMPFILE). */
MOLT_EXPORT int32_t molt_link(int32_t fd, const char *path)
{
	char self[32];

	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	return molt_status(linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW));
}

/* Makes `path` a symbolic link to `target`. */
MOLT_EXPORT int32_t molt_symlink(const char *target, const char *path)
{
	return molt_status(symlink(target, path));
}

/* The target of a symbolic link, NUL-terminated in `buffer`. Returns its length. */
MOLT_EXPORT int64_t molt_readlink(const char *path, char *buffer, uint64_t size)
{
	ssize_t length = readlink(path, buffer, size - 1);

	if (length >= 0)
		buffer[length] = 0;
	return molt_result(length);
}

/* The O_* status flags of an open file. */
MOLT_EXPORT int32_t molt_get_flags(int32_t fd)
{
	return molt_status(fcntl(fd, F_GETFL));
}

MOLT_EXPORT int32_t molt_set_flags(int32_t fd, int32_t flags)
{
	return molt_status(fcntl(fd, F_SETFL, flags));
}

/* 1 if the descriptor closes on exec, 0 if not, -EBADF if it is not open. */
MOLT_EXPORT int32_t molt_get_cloexec(int32_t fd)
{
	int flags = fcntl(fd, F_GETFD);

	return flags < 0 ? -errno : (flags & FD_CLOEXEC) != 0;
}

MOLT_EXPORT int32_t molt_set_cloexec(int32_t fd, int32_t on)
{
	return molt_status(fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0));
}

/* A close-on-exec duplicate. */
MOLT_EXPORT int32_t molt_duplicate(int32_t fd)
{
	return molt_status(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

/* Makes `to` the same open file as `from`, not close-on-exec. */
MOLT_EXPORT int32_t molt_duplicate_onto(int32_t from, int32_t to)
{
	return molt_status(dup2(from, to));
}

/*
 * Takes (type F_RDLCK 0 or F_WRLCK 1) or drops (F_UNLCK 2) an open-file-description lock on
 * [offset, offset + length) without waiting: -EAGAIN if somebody else holds it.
 */
MOLT_EXPORT int32_t molt_lock(int32_t fd, int32_t type, int64_t offset, int64_t length)
{
	struct flock lock = { .l_type = (short)type, .l_whence = SEEK_SET,
			      .l_start = offset, .l_len = length };

	return molt_status(fcntl(fd, F_OFD_SETLK, &lock));
}

/*
 * Whether somebody else's lock would keep an exclusive one (open-file-description lock) from being taken
 * on [offset, offset + length): 1 or 0.
 */
MOLT_EXPORT int32_t molt_lock_conflicts(int32_t fd, int64_t offset, int64_t length)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET,
			      .l_start = offset, .l_len = length };

	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type != F_UNLCK;
}

/* MFD_* `flags`; close-on-exec always. */
MOLT_EXPORT int32_t molt_memfd(const char *name, uint32_t flags)
{
	return molt_status(memfd_create(name, flags | MFD_CLOEXEC));
}

/* Adds F_SEAL_* `seals`. */
MOLT_EXPORT int32_t molt_add_seals(int32_t fd, int32_t seals)
{
	return molt_status(fcntl(fd, F_ADD_SEALS, seals));
}

/* Maps memory: PROT_*, MAP_* as mmap; fd -1 for anonymous memory. Returns the address. */
MOLT_EXPORT int64_t molt_map(uint64_t length, int32_t protection, int32_t flags, int32_t fd,
			     int64_t offset)
{
	void *address = mmap(NULL, length, protection, flags, fd, offset);

	return address == MAP_FAILED ? -errno : (int64_t)(uintptr_t)address;
}

MOLT_EXPORT int32_t molt_unmap(uint64_t address, uint64_t length)
{
	return molt_status(munmap((void *)(uintptr_t)address, length));
}

/* MADV_* `advice` for a range. */
MOLT_EXPORT int32_t molt_advise(uint64_t address, uint64_t length, int32_t advice)
{
	return molt_status(madvise((void *)(uintptr_t)address, length, advice));
}

/* Both ends of a pipe in ends[0] (read) and ends[1] (write); O_* `flags`. */
MOLT_EXPORT int32_t molt_pipe(int32_t *ends, int32_t flags)
{
	return molt_status(pipe2(ends, flags | O_CLOEXEC));
}

/* A non-blocking eventfd. */
MOLT_EXPORT int32_t molt_eventfd(void)
{
	return molt_status(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

/* A non-blocking CLOCK_MONOTONIC timer. */
MOLT_EXPORT int32_t molt_timerfd(void)
{
	return molt_status(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
}

/* Arms the timer for the CLOCK_MONOTONIC time `expiry` in ns; 0 disarms it. */
MOLT_EXPORT int32_t molt_timerfd_set(int32_t fd, int64_t expiry)
{
	struct itimerspec timer = { .it_value = { expiry / 1000000000, expiry % 1000000000 } };

	return molt_status(timerfd_settime(fd, TFD_TIMER_ABSTIME, &timer, NULL));
}

/* CLOCK_MONOTONIC (1), CLOCK_REALTIME (0), ... in ns. */
MOLT_EXPORT int64_t molt_clock(int32_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Waits until one of the POLL* `events` holds for `fd`: returns those, 0 after `timeout_ms` (-1: none). */
MOLT_EXPORT int32_t molt_poll(int32_t fd, int32_t events, int32_t timeout_ms)
{
	struct pollfd entry = { .fd = fd, .events = (short)events };
	int64_t end = molt_clock(CLOCK_MONOTONIC) + (int64_t)timeout_ms * 1000000;
	int found;

	while ((found = poll(&entry, 1, timeout_ms)) < 0 && errno == EINTR) {
		int64_t left = (end - molt_clock(CLOCK_MONOTONIC)) / 1000000;

		if (timeout_ms >= 0)
			timeout_ms = left > 0 ? (int32_t)left : 0;
	}
	return found < 0 ? -errno : found == 0 ? 0 : entry.revents;
}

/* As molt_poll, looking again and again instead of sleeping, for at most `timeout_ns`. */
MOLT_EXPORT int32_t molt_poll_busily(int32_t fd, int32_t events, int64_t timeout_ns)
{
	int64_t end = molt_clock(CLOCK_MONOTONIC) + timeout_ns;
	int32_t found;

	do
		found = molt_poll(fd, events, 0);
	while (found == 0 && molt_clock(CLOCK_MONOTONIC) < end);
	return found;
}
