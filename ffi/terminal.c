/*
 * Terminals. While the user's terminal is in raw mode a guard gives its settings back however the
 * process ends, short of SIGKILL: by exit(), or by a signal that nothing else handles.
 */
#include "molt.h"

#include <fcntl.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static volatile sig_atomic_t guarded; /* 0: nothing to give back */
static int guarded_fd;
static struct termios original_settings;
static struct termios raw_settings;

/* Signals whose default action ends the process. */
static const int fatal_signals[] = { SIGHUP,  SIGINT,  SIGQUIT, SIGILL,  SIGTRAP,   SIGABRT,
				     SIGBUS,  SIGFPE,  SIGSEGV, SIGPIPE, SIGALRM,   SIGTERM,
				     SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGSYS };

/* tcsetattr that a background process may call without being stopped. */
static void apply(const struct termios *settings)
{
	sigset_t output, before;

	sigemptyset(&output);
	sigaddset(&output, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &output, &before);
	tcsetattr(guarded_fd, TCSANOW, settings);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void give_back(void)
{
	if (guarded)
		apply(&original_settings);
	guarded = 0;
}

static void on_fatal_signal(int number)
{
	struct sigaction current;

	/* Somebody who handles the signal now calls us as the handler that was there before. */
	if (sigaction(number, NULL, &current) == 0 && current.sa_handler != on_fatal_signal)
		return;
	give_back();
	signal(number, SIG_DFL);
	raise(number);
}

/* The shell that continues us has set the terminal to its own liking. */
static void on_continue(int number)
{
	(void)number;
	if (guarded && tcgetpgrp(guarded_fd) == getpgrp())
		apply(&raw_settings);
}

static void handle_if_default(int number, void (*handler)(int))
{
	struct sigaction current, action = { .sa_handler = handler, .sa_flags = SA_RESTART };

	sigemptyset(&action.sa_mask);
	if (sigaction(number, NULL, &current) == 0 && !(current.sa_flags & SA_SIGINFO) &&
	    current.sa_handler == SIG_DFL)
		sigaction(number, &action, NULL);
}

/*
 * Puts terminal `fd` in raw mode until molt_terminal_restore; one terminal at a time. With `signals`
 * 1 it still sends SIGINT and others.
 */
MOLT_EXPORT int32_t molt_terminal_raw(int32_t fd, int32_t signals)
{
	static int prepared;

	if (guarded)
		return -EBUSY;
	if (tcgetattr(fd, &original_settings) < 0)
		return -errno;
	raw_settings = original_settings;
	raw_settings.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR |
					    ICRNL | IXON);
	raw_settings.c_oflag |= OPOST;
	raw_settings.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
	if (!signals)
		raw_settings.c_lflag &= ~(tcflag_t)ISIG;
	raw_settings.c_cflag &= ~(tcflag_t)(CSIZE | PARENB);
	raw_settings.c_cflag |= CS8;
	raw_settings.c_cc[VMIN] = 1;
	raw_settings.c_cc[VTIME] = 0;
	guarded_fd = fd;
	guarded = 1;
	if (!prepared) {
		prepared = 1;
		atexit(give_back);
		for (size_t i = 0; i < sizeof fatal_signals / sizeof fatal_signals[0]; i++)
			handle_if_default(fatal_signals[i], on_fatal_signal);
		handle_if_default(SIGCONT, on_continue);
	}
	apply(&raw_settings);
	return 0;
}

/* Gives the terminal its settings back. */
MOLT_EXPORT void molt_terminal_restore(void)
{
	give_back();
}

MOLT_EXPORT int32_t molt_isatty(int32_t fd)
{
	return isatty(fd);
}

/*
 * Opens a pseudo terminal in raw mode: ends[0] the master (non-blocking), ends[1] the slave; the
 * slave's path goes to `name` (`size` bytes).
 */
MOLT_EXPORT int32_t molt_openpty(int32_t *ends, char *name, uint64_t size)
{
	struct termios termios;

	if (openpty(&ends[0], &ends[1], NULL, NULL, NULL) < 0)
		return -errno;
	tcgetattr(ends[1], &termios);
	cfmakeraw(&termios);
	tcsetattr(ends[1], TCSANOW, &termios);
	if (ptsname_r(ends[0], name, size) != 0 ||
	    fcntl(ends[0], F_SETFL, O_RDWR | O_NONBLOCK) < 0 ||
	    fcntl(ends[0], F_SETFD, FD_CLOEXEC) < 0 || fcntl(ends[1], F_SETFD, FD_CLOEXEC) < 0) {
		int32_t error = -errno;

		close(ends[0]);
		close(ends[1]);
		return error;
	}
	return 0;
}
