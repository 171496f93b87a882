/*
 * Fails chosen system calls of libmolt.so, and counts all of them (LD_PRELOAD, interposer.ts).
 *
 * When the runtime loads libmolt.so, the entries of that library's own import table are replaced: calls
 * of the runtime, of V8 and of the C library itself are neither seen nor failed. What to fail stands in
 * a file that the test maps as well, named by MOLT_INJECTION. A process that is started by another one,
 * or executed in its place, is the file's next process.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How a function reports failure. */
enum report {
	SETS_ERRNO, /* -1 and errno */
	RETURNS_ERROR, /* the error itself */
	RETURNS_NULL, /* a null pointer and errno */
	WORKS_AND_FAILS, /* -1 and errno, after it has done its work: close(2) frees the number anyway */
};

/*
 * The calls that can be failed. A selector distinguishes a call's uses: the number of an argument, or NONE.
 * syscall's is the number of the system call; a futex's operation is added from bit 16 on.
 */
#define NONE -1
#define CALLS(X) \
	X(accept4, SETS_ERRNO, NONE) \
	X(aligned_alloc, RETURNS_NULL, NONE) \
	X(bind, SETS_ERRNO, NONE) \
	X(calloc, RETURNS_NULL, NONE) \
	X(chdir, SETS_ERRNO, NONE) \
	X(close, WORKS_AND_FAILS, NONE) \
	X(connect, SETS_ERRNO, NONE) \
	X(dlopen, RETURNS_NULL, NONE) \
	X(dup2, SETS_ERRNO, NONE) \
	X(epoll_create1, SETS_ERRNO, NONE) \
	X(epoll_ctl, SETS_ERRNO, 1) \
	X(epoll_pwait2, SETS_ERRNO, NONE) \
	X(eventfd, SETS_ERRNO, NONE) \
	X(eventfd_write, SETS_ERRNO, NONE) \
	X(execvpe, SETS_ERRNO, NONE) \
	X(fallocate, SETS_ERRNO, NONE) \
	X(fchmod, SETS_ERRNO, NONE) \
	X(fcntl, SETS_ERRNO, 1) \
	X(fdatasync, SETS_ERRNO, NONE) \
	X(fopen, RETURNS_NULL, NONE) \
	X(fstat, SETS_ERRNO, NONE) \
	X(fsync, SETS_ERRNO, NONE) \
	X(ftruncate, SETS_ERRNO, NONE) \
	X(getaddrinfo, RETURNS_ERROR, NONE) \
	X(getpeername, SETS_ERRNO, NONE) \
	X(getsockname, SETS_ERRNO, NONE) \
	X(getsockopt, SETS_ERRNO, 2) \
	X(ioctl, SETS_ERRNO, 1) \
	X(kill, SETS_ERRNO, NONE) \
	X(linkat, SETS_ERRNO, NONE) \
	X(listen, SETS_ERRNO, NONE) \
	X(lseek, SETS_ERRNO, NONE) \
	X(lstat, SETS_ERRNO, NONE) \
	X(madvise, SETS_ERRNO, NONE) \
	X(malloc, RETURNS_NULL, NONE) \
	X(memfd_create, SETS_ERRNO, NONE) \
	X(mmap, SETS_ERRNO, NONE) \
	X(munmap, SETS_ERRNO, NONE) \
	X(open, SETS_ERRNO, NONE) \
	X(opendir, RETURNS_NULL, NONE) \
	X(openpty, SETS_ERRNO, NONE) \
	X(pipe2, SETS_ERRNO, NONE) \
	X(poll, SETS_ERRNO, NONE) \
	X(posix_spawnp, RETURNS_ERROR, NONE) \
	X(ppoll, SETS_ERRNO, NONE) \
	X(prctl, SETS_ERRNO, 0) \
	X(pread, SETS_ERRNO, NONE) \
	X(preadv, SETS_ERRNO, NONE) \
	X(preadv2, SETS_ERRNO, NONE) \
	X(pthread_create, RETURNS_ERROR, NONE) \
	X(pwrite, SETS_ERRNO, NONE) \
	X(pwritev, SETS_ERRNO, NONE) \
	X(pwritev2, SETS_ERRNO, NONE) \
	X(read, SETS_ERRNO, NONE) \
	X(readlink, SETS_ERRNO, NONE) \
	X(readv, SETS_ERRNO, NONE) \
	X(recv, SETS_ERRNO, NONE) \
	X(recvmsg, SETS_ERRNO, NONE) \
	X(rename, SETS_ERRNO, NONE) \
	X(sched_setscheduler, SETS_ERRNO, NONE) \
	X(send, SETS_ERRNO, NONE) \
	X(sendmsg, SETS_ERRNO, NONE) \
	X(setsockopt, SETS_ERRNO, 2) \
	X(shutdown, SETS_ERRNO, NONE) \
	X(socket, SETS_ERRNO, NONE) \
	X(socketpair, SETS_ERRNO, NONE) \
	X(symlink, SETS_ERRNO, NONE) \
	X(syscall, SETS_ERRNO, 0) \
	X(tcgetattr, SETS_ERRNO, NONE) \
	X(tcsetattr, SETS_ERRNO, NONE) \
	X(timerfd_create, SETS_ERRNO, NONE) \
	X(timerfd_settime, SETS_ERRNO, NONE) \
	X(unlink, SETS_ERRNO, NONE) \
	X(waitpid, SETS_ERRNO, NONE) \
	X(write, SETS_ERRNO, NONE) \
	X(writev, SETS_ERRNO, NONE)

/* What the library imports besides: it cannot fail, or only by a mistake of the caller. */
static const char *const harmless[] = {
	"_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable", "__cxa_atexit", "__cxa_finalize",
	"__environ", "__errno_location", "__gmon_start__", "__libc_current_sigrtmin",
	"__stack_chk_fail", "__tls_get_addr", "abort", "cfmakeraw", "clock_gettime", "closedir", "dlsym",
	"environ", "fclose", "fgets", "free", "freeaddrinfo", "getenv", "getpgrp", "getpid",
	"getppid", "gettid", "isatty", "memchr", "memcmp", "memcpy", "memmove", "memset", "nanosleep",
	"posix_spawn_file_actions_adddup2", "posix_spawn_file_actions_destroy",
	"posix_spawn_file_actions_init", "posix_spawnattr_destroy", "posix_spawnattr_init",
	"posix_spawnattr_setflags", "posix_spawnattr_setsigdefault", "posix_spawnattr_setsigmask",
	"pthread_cond_broadcast", "pthread_cond_destroy", "pthread_cond_init", "pthread_cond_signal",
	"pthread_cond_clockwait", "pthread_cond_timedwait", "pthread_cond_wait", "pthread_condattr_destroy",
	"pthread_condattr_init", "pthread_condattr_setclock", "pthread_detach", "pthread_join", "pthread_kill",
	"pthread_mutex_destroy", "pthread_mutex_init", "pthread_mutex_lock", "pthread_mutex_trylock",
	"pthread_mutex_unlock", "pthread_self", "pthread_setname_np", "pthread_sigmask", "ptsname_r",
	"raise", "readdir", "sched_yield", "sched_getcpu", "sigaction", "sigaddset", "sigdelset", "sigemptyset",
	"sigfillset", "siglongjmp", "signal", "__sigsetjmp", "snprintf", "strchr", "strcmp", "strcpy",
	"strlen", "strncmp", "strncpy", "strnlen", "strrchr", "strstr", "strtol", "strtoul", "sysconf", "tcgetpgrp", "unsetenv", "vsnprintf",
};

enum call {
#define X(name, report, selector) CALL_##name,
	CALLS(X)
#undef X
	CALL_COUNT,
};

static const struct {
	const char *name;
	enum report report;
	int selector;
} calls[] = {
#define X(name, report, selector) { #name, report, selector },
	CALLS(X)
#undef X
};

/* The file (interposer.ts has the same). Integers are little-endian. */
#define PROCESSES 8
#define KEYS 256
#define NAMES 96
#define NAME_SIZE 24

struct uses {
	_Atomic uint64_t key; /* 1 + call, shifted by 32, and the selector; 0: free */
	_Atomic uint32_t count;
	uint32_t unused;
};

static struct control {
	_Atomic uint32_t processes; /* that have loaded the library so far */
	_Atomic uint32_t armed; /* uses count, and one may fail */
	uint32_t process; /* of which one fails; its place in the order of loading */
	uint32_t error;
	uint64_t key; /* which use fails; 0: none */
	uint32_t use; /* from 1 */
	_Atomic uint32_t reached;
	_Atomic uint32_t unknown; /* there are imports of neither list: their first one's name follows */
	char unknown_name[60];
	char names[NAMES][NAME_SIZE];
	struct uses uses[PROCESSES][KEYS];
} *control;

static uint32_t this_process;
static void *(*real_dlopen)(const char *, int);
static long (*reals[CALL_COUNT])(long, long, long, long, long, long);

/* Counts a use, and returns the error that it is to fail with, or 0. */
static int count(uint64_t key)
{
	struct uses *row = control->uses[this_process % PROCESSES];

	for (unsigned int i = 0, at = (unsigned int)(key ^ key >> 32); i < KEYS; i++, at++) {
		struct uses *uses = &row[at % KEYS];
		uint64_t found = 0;

		if (!atomic_compare_exchange_strong(&uses->key, &found, key) && found != key)
			continue;

		uint32_t number = atomic_fetch_add(&uses->count, 1) + 1;

		if (control->key != key || control->process != this_process || control->use != number)
			return 0;
		atomic_store(&control->reached, 1);
		return (int)control->error;
	}
	return 0;
}

static long perform(enum call call, long a, long b, long c, long d, long e, long f)
{
	long arguments[] = { a, b, c, d, e, f };
	int selector = calls[call].selector;
	int before = errno;
	int error = 0;

	if (atomic_load(&control->armed)) {
		uint64_t key = (uint64_t)(call + 1) << 32;

		if (selector >= 0)
			key |= (uint32_t)arguments[selector];
		if (call == CALL_syscall && a == SYS_futex)
			key |= (uint32_t)c << 16;
		error = count(key);
	}
	errno = before;
	if (!error)
		return reals[call](a, b, c, d, e, f);
	if (calls[call].report == WORKS_AND_FAILS)
		reals[call](a, b, c, d, e, f);
	if (calls[call].report == RETURNS_ERROR)
		return error;
	errno = error;
	return calls[call].report == RETURNS_NULL ? 0 : -1;
}

/*
 * None of these functions takes more than six arguments or a floating-point number, so all have one form:
 * on x86-64 each argument has its register, whatever its type, and a variadic one's is the same.
 */
#define X(name, report, selector) \
	static long fail_##name(long a, long b, long c, long d, long e, long f) \
	{ \
		return perform(CALL_##name, a, b, c, d, e, f); \
	}
CALLS(X)
#undef X

static long (*const wrappers[])(long, long, long, long, long, long) = {
#define X(name, report, selector) fail_##name,
	CALLS(X)
#undef X
};

static void *wrapper(const char *name)
{
	for (int i = 0; i < CALL_COUNT; i++) {
		if (strcmp(calls[i].name, name) != 0)
			continue;
		reals[i] = (long (*)(long, long, long, long, long, long))dlsym(RTLD_NEXT, name);
		return reals[i] ? (void *)wrappers[i] : NULL;
	}
	for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
		if (strcmp(harmless[i], name) == 0)
			return NULL;
	if (!atomic_fetch_add(&control->unknown, 1))
		strncpy(control->unknown_name, name, sizeof control->unknown_name - 1);
	return NULL;
}

static void replace(const struct link_map *map, const ElfW(Sym) *symbols, const char *strings,
		    const ElfW(Rela) *relocations, size_t size)
{
	for (size_t i = 0; i < size / sizeof *relocations; i++) {
		uint64_t type = ELF64_R_TYPE(relocations[i].r_info);
		const ElfW(Sym) *symbol = &symbols[ELF64_R_SYM(relocations[i].r_info)];

		if ((type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT) ||
		    symbol->st_shndx != SHN_UNDEF)
			continue;

		void *function = wrapper(strings + symbol->st_name);
		uintptr_t slot = map->l_addr + relocations[i].r_offset;

		if (!function)
			continue;
		mprotect((void *)(slot & ~UINT64_C(4095)), 4096, PROT_READ | PROT_WRITE);
		*(void **)slot = function;
	}
}

static void replace_imports(const struct link_map *map)
{
	uint64_t values[DT_NUM] = { 0 };

	for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++)
		if (entry->d_tag < DT_NUM)
			values[entry->d_tag] = entry->d_un.d_val;

	const ElfW(Sym) *symbols = (void *)values[DT_SYMTAB];
	const char *strings = (void *)values[DT_STRTAB];

	replace(map, symbols, strings, (void *)values[DT_JMPREL], values[DT_PLTRELSZ]);
	replace(map, symbols, strings, (void *)values[DT_RELA], values[DT_RELASZ]);
}

static struct control *map_control(void)
{
	const char *path = getenv("MOLT_INJECTION");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	if (fd < 0)
		return NULL;

	struct control *mapped = mmap(NULL, sizeof *mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	if (mapped == MAP_FAILED)
		return NULL;
	for (int i = 0; i < CALL_COUNT; i++)
		strncpy(mapped->names[i], calls[i].name, NAME_SIZE - 1);
	return mapped;
}

/* The runtime's, in place of the C library's. */
__attribute__((visibility("default"))) void *dlopen(const char *path, int flags)
{
	struct link_map *map;

	if (!real_dlopen)
		real_dlopen = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");

	void *library = real_dlopen(path, flags);

	if (!library || control || !dlsym(library, "molt_abi") ||
	    dlinfo(library, RTLD_DI_LINKMAP, &map) < 0)
		return library;
	control = map_control();
	if (!control)
		return library;
	this_process = atomic_fetch_add(&control->processes, 1);
	replace_imports(map);
	return library;
}
