/* vCPU threads: each sits in KVM_RUN and hands every exit to the machine (see vcpu.h). */
#include "molt.h"

#include <linux/futex.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "poll.h"
#include "vcpu.h"
#include "virtio_interrupt.h"
#include "wait.h"

/*
 * Ends KVM_RUN from outside. Its handler does nothing: the signal's arrival is the message.
 * A real-time signal, because Deno gives meanings to the others (SIGUSR1 starts its debugger).
 */
#define KICK_SIGNAL (SIGRTMIN + 1)

/* An exit whose answer takes longer is answered by something that takes long, or by nobody at the moment. */
#define ANSWER_NS 50000

struct molt_vcpu {
	struct molt_vcpu_shared shared; /* first: TypeScript maps it through the handle */
	_Atomic uint32_t kicked; /* asked to park */
	_Atomic int64_t sleep; /* ns that the thread has to sleep instead of running the guest */
	_Atomic uint32_t requests; /* how often something was asked for; also a futex */
	_Atomic uint32_t asleep; /* the thread sleeps, or is about to, until its state changes */
	int fd;
	unsigned int index;
	struct kvm_run *run;
	size_t run_size;
	struct molt_doorbell *doorbell;
	pthread_t thread;
	_Atomic int32_t thread_id;
};

static _Atomic uint32_t *state_of(struct molt_vcpu *vcpu)
{
	return (_Atomic uint32_t *)&vcpu->shared.state;
}

static void kick_handler(int signal)
{
	(void)signal;
}

static void sleep_while(struct molt_vcpu *vcpu, uint32_t state)
{
	atomic_store(&vcpu->asleep, 1);
	while (atomic_load(state_of(vcpu)) == state)
		syscall(SYS_futex, state_of(vcpu), FUTEX_WAIT_PRIVATE, state, NULL, NULL, 0);
	atomic_store(&vcpu->asleep, 0);
}

/*
 * Changes the state of a thread that may sleep. `asleep` is set before the thread looks at its state, and
 * looked at here after the state was changed: one of the two sees the other. A futex wait that begins
 * after the change does not sleep.
 */
static void set_state(struct molt_vcpu *vcpu, uint32_t state)
{
	atomic_store(state_of(vcpu), state);
	if (atomic_load(&vcpu->asleep))
		syscall(SYS_futex, state_of(vcpu), FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Waits for the answer to an exit. `soon`: somebody is about to see it. */
static void await_answer(struct molt_vcpu *vcpu, bool soon)
{
	struct molt_poll_wait wait = molt_poll_begin(molt_doorbell_poll(vcpu->doorbell),
						     soon ? ANSWER_NS : 0);

	do {
		if (atomic_load(state_of(vcpu)) != MOLT_VCPU_EXITED)
			return;
	} while (molt_poll_again(&wait));
	if (wait.end > wait.start)
		molt_poll_lost(wait.poll, wait.now, wait.now - wait.start);
	sleep_while(vcpu, MOLT_VCPU_EXITED);
}

/* Gives the vCPU to TypeScript, unless it was asked to quit meanwhile, and sleeps until it is back. */
static void hand_over(struct molt_vcpu *vcpu, uint32_t state)
{
	uint32_t running = MOLT_VCPU_RUNNING;

	if (!atomic_compare_exchange_strong(state_of(vcpu), &running, state))
		return;

	bool soon = molt_doorbell_ring(vcpu->doorbell, vcpu->index);

	if (state == MOLT_VCPU_EXITED)
		await_answer(vcpu, soon);
	else
		sleep_while(vcpu, state);
}

/*
 * Asks the thread to look at `kicked`, `sleep` and its state, of which one was changed before, wherever
 * the thread is. The other side is answer_request:
 *
 *   here                       there
 *   change what is asked for   n = requests
 *   requests++                 immediate_exit = 0
 *   immediate_exit = 1         look at what is asked for, sleep while requests == n
 *   signal                     KVM_RUN
 *
 * All of it is in one order that both sides see. If immediate_exit is set before it is cleared there, the
 * look that follows sees the change; if after, KVM_RUN returns at once. A signal alone would be lost on a
 * thread that is about to call KVM_RUN or to sleep.
 */
static void request(struct molt_vcpu *vcpu)
{
	atomic_fetch_add(&vcpu->requests, 1);
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(vcpu->thread, KICK_SIGNAL);
}

/* Parks if the vCPU was kicked; otherwise sleeps as long as was asked for, or until the next request. */
static void answer_request(struct molt_vcpu *vcpu)
{
	uint32_t seen = atomic_load(&vcpu->requests);

	__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	if (atomic_exchange(&vcpu->kicked, 0)) {
		hand_over(vcpu, MOLT_VCPU_PARKED);
		return;
	}

	int64_t length = atomic_exchange(&vcpu->sleep, 0);
	struct timespec timeout = { length / 1000000000, length % 1000000000 };

	if (length > 0)
		syscall(SYS_futex, &vcpu->requests, FUTEX_WAIT_PRIVATE, seen, &timeout, NULL, 0);
}

static void *vcpu_thread(void *argument)
{
	struct molt_vcpu *vcpu = argument;
	char name[16];

	atomic_store(&vcpu->thread_id, (int32_t)gettid());
	snprintf(name, sizeof name, "CPU %u/KVM", vcpu->index);
	pthread_setname_np(pthread_self(), name);
	sleep_while(vcpu, MOLT_VCPU_PARKED);
	while (atomic_load(state_of(vcpu)) != MOLT_VCPU_QUIT) {
		int outcome = ioctl(vcpu->fd, KVM_RUN, 0);

		if (outcome < 0 && (errno == EINTR || errno == EAGAIN)) {
			answer_request(vcpu);
			continue;
		}
		if (outcome == 0 && molt_interrupt_serve(vcpu->run))
			continue;
		vcpu->shared.error = outcome < 0 ? -errno : 0;
		hand_over(vcpu, MOLT_VCPU_EXITED);
	}
	return NULL;
}

/* Starts the thread with every signal blocked but the kick, so that Deno's signals stay Deno's. */
static int start_thread(struct molt_vcpu *vcpu)
{
	struct sigaction action = { .sa_handler = kick_handler };
	sigset_t blocked, before;

	sigaction(KICK_SIGNAL, &action, NULL);
	sigfillset(&blocked);
	sigdelset(&blocked, KICK_SIGNAL);
	/* A fault that comes while its signal is blocked ends the process (see memory_guard.c). */
	sigdelset(&blocked, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &blocked, &before);

	int error = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -error;
}

/*
 * Takes over the KVM vCPU `fd` (closed by molt_vcpu_destroy), maps its kvm_run (`run_size` bytes)
 * and starts its thread, parked. Returns the vCPU's handle, which is also the address of its
 * struct molt_vcpu_shared, or -errno; after an error `fd` still belongs to the caller.
 */
MOLT_EXPORT int64_t molt_vcpu_create(int32_t fd, uint64_t run_size, uint32_t index,
				     uint64_t doorbell)
{
	struct molt_vcpu *vcpu = calloc(1, sizeof *vcpu);

	if (!vcpu)
		return -ENOMEM;
	vcpu->fd = fd;
	vcpu->index = index;
	vcpu->run_size = run_size;
	vcpu->doorbell = (void *)(uintptr_t)doorbell;
	vcpu->run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (vcpu->run == MAP_FAILED) {
		int64_t error = -errno;

		free(vcpu);
		return error;
	}

	int error = start_thread(vcpu);

	if (error) {
		munmap(vcpu->run, run_size);
		free(vcpu);
		return error;
	}
	return (int64_t)(uintptr_t)vcpu;
}

/* The address of the vCPU's struct kvm_run. */
MOLT_EXPORT uint64_t molt_vcpu_run(uint64_t handle)
{
	return (uint64_t)(uintptr_t)((struct molt_vcpu *)(uintptr_t)handle)->run;
}

/* The kernel's id of the vCPU's thread; 0 until the thread runs. */
MOLT_EXPORT int32_t molt_vcpu_thread_id(uint64_t handle)
{
	return atomic_load(&((struct molt_vcpu *)(uintptr_t)handle)->thread_id);
}

/* Lets a parked or exited vCPU run. */
MOLT_EXPORT void molt_vcpu_resume(uint64_t handle)
{
	struct molt_vcpu *vcpu = (void *)(uintptr_t)handle;

	if (atomic_load(state_of(vcpu)) == MOLT_VCPU_PARKED) {
		atomic_store(&vcpu->kicked, 0); /* a second kick that came while it parked */
		atomic_store(&vcpu->sleep, 0);
	}
	set_state(vcpu, MOLT_VCPU_RUNNING);
}

/* Asks a running or exited vCPU to park at the next safe point; a parked one stays as it is. */
MOLT_EXPORT void molt_vcpu_kick(uint64_t handle)
{
	struct molt_vcpu *vcpu = (void *)(uintptr_t)handle;

	if (atomic_load(state_of(vcpu)) == MOLT_VCPU_PARKED)
		return;
	atomic_store(&vcpu->kicked, 1);
	request(vcpu);
}

/*
 * Has a running vCPU sleep for `length` ns instead of running the guest, as soon as its exits are
 * answered; 0 ends such a sleep. A parked one stays as it is.
 */
MOLT_EXPORT void molt_vcpu_sleep(uint64_t handle, int64_t length)
{
	struct molt_vcpu *vcpu = (void *)(uintptr_t)handle;

	if (atomic_load(state_of(vcpu)) == MOLT_VCPU_PARKED)
		return;
	atomic_store(&vcpu->sleep, length);
	request(vcpu);
}

/* Ends the vCPU's thread, wherever it is, and closes its descriptor. */
MOLT_EXPORT void molt_vcpu_destroy(uint64_t handle)
{
	struct molt_vcpu *vcpu = (void *)(uintptr_t)handle;

	atomic_store(&vcpu->kicked, 1); /* a thread that does not sleep finds the state by this */
	set_state(vcpu, MOLT_VCPU_QUIT);
	request(vcpu);
	pthread_join(vcpu->thread, NULL);
	munmap(vcpu->run, vcpu->run_size);
	close(vcpu->fd);
	free(vcpu);
}
