/* The process itself: exec, children, environment. */
#include "molt.h"

#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* CLOSE_RANGE_CLOEXEC of linux/close_range.h, which older systems lack. */
#define CLOSE_ON_EXEC (1U << 2)

extern char **environ;

/* Turns `count` NUL-terminated strings, one after the other, into a vector that ends with NULL. */
static char **vector_of(const char *strings, uint32_t count)
{
	char **vector = calloc(count + 1, sizeof *vector);

	for (uint32_t i = 0; vector && i < count; i++) {
		vector[i] = (char *)(uintptr_t)strings;
		strings += strlen(strings) + 1;
	}
	return vector;
}

/*
 * Has every descriptor from `first` on close at an execve, whoever opened it. -EINVAL or -ENOSYS: the
 * kernel does not know how (Linux before 5.11).
 */
MOLT_EXPORT int32_t molt_close_on_exec_from(int32_t first)
{
	return syscall(SYS_close_range, first, ~0U, CLOSE_ON_EXEC) < 0 ? -errno : 0;
}

/*
 * Replaces the process image: `command` (searched in PATH like execvp) with the arguments and the
 * environment given, each as NUL-terminated strings one after the other. Returns only on failure.
 */
MOLT_EXPORT int32_t molt_exec(const char *command, const char *arguments, uint32_t argument_count,
			      const char *environment, uint32_t environment_count)
{
	char **argv = vector_of(arguments, argument_count);
	char **envp = vector_of(environment, environment_count);
	int32_t error = -ENOMEM;

	if (argv && envp) {
		/* Deno's runtime blocks no signal in its threads, but an exec'd program inherits the mask. */
		sigset_t none, before;

		sigemptyset(&none);
		pthread_sigmask(SIG_SETMASK, &none, &before);
		execvpe(command, argv, envp);
		error = -errno;
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	free(argv);
	free(envp);
	return error;
}

/*
 * Starts `command` (searched in PATH) with the arguments given and this process's environment plus
 * `environment`. map holds `map_count` pairs (descriptor here, descriptor there); everything else
 * that is close-on-exec closes. With `session` 1 it becomes a session leader. Returns the child's
 * pid.
 */
MOLT_EXPORT int32_t molt_spawn(const char *command, const char *arguments, uint32_t argument_count,
			       const char *environment, uint32_t environment_count,
			       const int32_t *map, uint32_t map_count, int32_t session)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	char **argv = vector_of(arguments, argument_count);
	char **envp = vector_of(environment, environment_count);
	sigset_t none, defaults;
	pid_t child = 0;
	int error = ENOMEM;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &defaults);
	posix_spawnattr_setflags(&attributes,
				 (short)(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
					 (session ? POSIX_SPAWN_SETSID : 0)));
	for (uint32_t i = 0; i < map_count; i++)
		posix_spawn_file_actions_adddup2(&actions, map[2 * i], map[2 * i + 1]);
	if (argv && envp)
		error = posix_spawnp(&child, command, &actions, &attributes, argv, envp);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	free(argv);
	free(envp);
	return error ? -error : child;
}

/* A pidfd of the process `pid`: readable when it has ended (pidfd_open(2)). */
MOLT_EXPORT int32_t molt_open_process(int32_t pid)
{
	return molt_status((int)syscall(SYS_pidfd_open, pid, 0));
}

/* Waits for a child: *status as waitpid gives it. `flags` 1 (WNOHANG): returns 0 while it runs. */
MOLT_EXPORT int32_t molt_wait_child(int32_t pid, int32_t *status, int32_t flags)
{
	return molt_status((int)TEMP_FAILURE_RETRY(waitpid(pid, status, flags)));
}

MOLT_EXPORT int32_t molt_kill(int32_t pid, int32_t signal)
{
	return molt_status(kill(pid, signal));
}

MOLT_EXPORT int32_t molt_change_directory(const char *path)
{
	return molt_status(chdir(path));
}

MOLT_EXPORT int32_t molt_process_id(void)
{
	return getpid();
}

MOLT_EXPORT int32_t molt_parent_id(void)
{
	return getppid();
}

/* Asks the kernel to send `signal` to this process when its parent ends. */
MOLT_EXPORT int32_t molt_parent_death_signal(int32_t signal)
{
	return molt_status(prctl(PR_SET_PDEATHSIG, signal));
}

/* Names the process for ps and top (the first 15 bytes count). */
MOLT_EXPORT int32_t molt_process_name(const char *name)
{
	return molt_status(prctl(PR_SET_NAME, name));
}

/* Sets the kernel's record of where a part of this process is: `field` is one of PR_SET_MM's (prctl(2)). */
MOLT_EXPORT int32_t molt_set_memory_layout(int32_t field, uint64_t address)
{
	return (int32_t)molt_result(prctl(PR_SET_MM, (unsigned long)field, address, 0UL, 0UL));
}

/* Copies the value of an environment variable with its NUL; returns its length or -ENOENT. */
MOLT_EXPORT int64_t molt_getenv(const char *name, char *buffer, uint64_t size)
{
	const char *value = getenv(name);

	if (!value)
		return -ENOENT;

	size_t length = strlen(value);

	if (length + 1 > size)
		return -ENOBUFS;
	memcpy(buffer, value, length + 1);
	return (int64_t)length;
}

/* Removes a variable, so that no child inherits it. */
MOLT_EXPORT int32_t molt_unsetenv(const char *name)
{
	return molt_status(unsetenv(name));
}

/*
 * Copies the environment as NUL-terminated strings one after the other. Returns the bytes needed,
 * which may be more than `size`; then nothing is copied. *count is the number of strings.
 */
MOLT_EXPORT int64_t molt_environment(char *buffer, uint64_t size, uint32_t *count)
{
	uint64_t needed = 0;

	*count = 0;
	for (char **entry = environ; *entry; entry++, (*count)++)
		needed += strlen(*entry) + 1;
	if (needed > size)
		return (int64_t)needed;
	for (char **entry = environ; *entry; entry++) {
		size_t length = strlen(*entry) + 1;

		memcpy(buffer, *entry, length);
		buffer += length;
	}
	return (int64_t)needed;
}
