/*
 * Mapped files that somebody else can shorten. An access behind the new end raises SIGBUS, which by
 * default ends the process, and the guest with it.
 *
 *   guarded -> an access faults -> a page of zeros takes the page's place, the fault is counted, the
 *   eventfd rings -> the access is done again and succeeds -> the event loop stops the guest
 *
 * Other faults go to whoever handled the signal before.
 */
#include "molt.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory_guard.h"

#define RANGES 256
#define SMALLEST_PAGE 4096

/* Written under the lock, read by the handler at any time. `end` is set last and cleared first. */
struct range {
	_Atomic uint64_t start;
	_Atomic uint64_t end; /* 0: free */
	_Atomic uint64_t page; /* bytes that are mapped or not as one */
	_Atomic uint32_t faults;
};

static struct range ranges[RANGES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool installed;
static struct sigaction before;
static _Atomic int32_t bell = -1;
static _Atomic uint32_t total;
static _Atomic uint64_t latest;

/* Puts a page of zeros where `address` lies, if that is guarded. */
static bool replace_page(uint64_t address)
{
	for (uint32_t i = 0; i < RANGES; i++) {
		struct range *range = &ranges[i];
		uint64_t end = atomic_load(&range->end);

		if (address >= end || address < atomic_load(&range->start))
			continue;

		uint64_t page = atomic_load(&range->page);
		void *place = (void *)(uintptr_t)(address & ~(page - 1));

		if (mmap(place, page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			 0) == MAP_FAILED)
			return false;
		atomic_store(&latest, address);
		atomic_fetch_add(&range->faults, 1);
		atomic_fetch_add(&total, 1);
		return true;
	}
	return false;
}

static void handle(int signal, siginfo_t *info, void *context)
{
	int error = errno;
	bool synchronous = info->si_code > 0 && info->si_code != BUS_MCEERR_AO;

	if (synchronous && replace_page((uint64_t)(uintptr_t)info->si_addr)) {
		int32_t fd = atomic_load(&bell);
		uint64_t one = 1;

		/* An eventfd that is full rings already. */
		if (fd >= 0 && write(fd, &one, sizeof one) < 0)
			errno = error;
		errno = error;
		return;
	}
	if (before.sa_flags & SA_SIGINFO)
		before.sa_sigaction(signal, info, context);
	else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
		before.sa_handler(signal);
	else
		sigaction(signal, &before, NULL); /* the access faults again and ends the process */
	errno = error;
}

static int install(void)
{
	struct sigaction action = { .sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	if (installed)
		return 0;
	if (sigaction(SIGBUS, NULL, &before) < 0 || sigaction(SIGBUS, &action, NULL) < 0)
		return -errno;
	installed = true;
	return 0;
}

/*
 * Guards `length` bytes at `address`, in pages of `page` bytes (a power of two). Returns the guard, or
 * -ENOSPC if there are too many.
 */
MOLT_EXPORT int32_t molt_guard_add(uint64_t address, uint64_t length, uint64_t page)
{
	int32_t result = -ENOSPC;

	pthread_mutex_lock(&lock);

	int error = install();

	for (int32_t i = 0; !error && i < RANGES && result < 0; i++) {
		struct range *range = &ranges[i];

		if (atomic_load(&range->end) != 0)
			continue;
		atomic_store(&range->start, address);
		atomic_store(&range->page, page < SMALLEST_PAGE ? SMALLEST_PAGE : page);
		atomic_store(&range->faults, 0);
		atomic_store(&range->end, address + length);
		result = i;
	}
	pthread_mutex_unlock(&lock);
	return error ? error : result;
}

/* Ends a guard, before its memory is unmapped. */
MOLT_EXPORT void molt_guard_remove(int32_t guard)
{
	pthread_mutex_lock(&lock);
	atomic_store(&ranges[guard].end, 0);
	pthread_mutex_unlock(&lock);
}

/* How many of a guard's pages have been replaced. */
MOLT_EXPORT uint32_t molt_guard_faults(int32_t guard)
{
	return atomic_load(&ranges[guard].faults);
}

/* The address of the latest access that faulted; 0 if none has. */
MOLT_EXPORT uint64_t molt_guard_latest(void)
{
	return atomic_load(&latest);
}

/* The eventfd that rings at each fault; -1: none. */
MOLT_EXPORT void molt_guard_watch(int32_t fd)
{
	atomic_store(&bell, fd);
}

bool molt_guard_touch(const struct iovec *iov, uint32_t count)
{
	uint32_t faults = atomic_load(&total);

	for (uint32_t i = 0; i < count; i++) {
		const volatile uint8_t *bytes = iov[i].iov_base;

		for (uint64_t at = 0; at < iov[i].iov_len;) {
			(void)bytes[at];
			at += SMALLEST_PAGE - (((uintptr_t)bytes + at) & (SMALLEST_PAGE - 1));
		}
	}
	return atomic_load(&total) != faults;
}
