/* Interrupts of virtio devices (see virtio_interrupt.h). */
#include "molt.h"

#include <linux/kvm.h>
#include <linux/virtio_mmio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "message_vector.h"
#include "virtio_interrupt.h"

struct molt_interrupt {
	_Atomic uint32_t status; /* the bits; first: TypeScript maps it */
	int vm; /* KVM's virtual machine, -1: tests without one */
	int32_t gsi; /* input of KVM's interrupt controllers, or one of the following */
	pthread_mutex_t line; /* the input's level follows `status`, one change after the other */
	int attention; /* eventfd: TypeScript is to look at `error`, and at a function's bits */
	_Atomic int32_t error; /* errno of the first interrupt that KVM refused since the last restore */
	_Atomic uint64_t message; /* low half: address, high half: data; 0: the pin is masked */
	_Atomic bool vectored; /* MSI-X is enabled: causes have vectors */
	uint32_t causes;
	_Atomic(struct molt_vector *) vectors[]; /* by cause; NULL: the cause interrupts nobody */
};

#define BY_MESSAGE (-1)
#define BY_FUNCTION (-2)

/*
 * Transports of virtio-mmio whose interrupts are answered in vCPU threads, by the address of their registers:
 * each has the place that its address says.
 */
#define REGISTERS_SIZE 0x200u
#define TRANSPORTS 64

static struct transport {
	_Atomic uint64_t address; /* 0: none */
	_Atomic(struct molt_interrupt *) interrupt;
} transports[TRANSPORTS];

static struct transport *transport_at(uint64_t address)
{
	return &transports[address / REGISTERS_SIZE % TRANSPORTS];
}

/*
 * An interrupt by input `gsi` of KVM's controllers of `vm`, by message (-1), or by a function of PCI (-2), for
 * `causes` causes. The eventfd `attention` is signalled when KVM refuses one (once, until the interrupt is
 * restored) and when a function without vectors is to set its line. Returns its handle.
 */
MOLT_EXPORT int64_t molt_interrupt_create(int32_t vm, int32_t gsi, int32_t attention, uint32_t causes)
{
	struct molt_interrupt *interrupt;

	if (causes > MOLT_CAUSES)
		return -EINVAL;
	interrupt = calloc(1, sizeof *interrupt + causes * sizeof interrupt->vectors[0]);
	if (!interrupt)
		return -ENOMEM;
	interrupt->vm = vm;
	interrupt->gsi = gsi;
	interrupt->attention = attention;
	interrupt->causes = causes;
	pthread_mutex_init(&interrupt->line, NULL);
	return (int64_t)(uintptr_t)interrupt;
}

/* Frees the interrupt. No vCPU may run and no thread use it any more. */
MOLT_EXPORT void molt_interrupt_destroy(uint64_t handle)
{
	struct molt_interrupt *interrupt = (void *)(uintptr_t)handle;

	for (int i = 0; i < TRANSPORTS; i++) {
		struct molt_interrupt *expected = interrupt;

		if (atomic_compare_exchange_strong(&transports[i].interrupt, &expected, NULL))
			atomic_store(&transports[i].address, 0);
	}
	pthread_mutex_destroy(&interrupt->line);
	free(interrupt);
}

/*
 * vCPU threads answer for the virtio-mmio transport whose registers start at `address`, a multiple of their
 * size. -EEXIST: its place is taken, and the isolate answers.
 */
MOLT_EXPORT int32_t molt_interrupt_attach(uint64_t handle, uint64_t address)
{
	struct transport *transport = transport_at(address);

	if (address == 0 || address % REGISTERS_SIZE != 0)
		return -EINVAL;
	if (atomic_load(&transport->address) != 0)
		return -EEXIST;
	atomic_store(&transport->interrupt, (struct molt_interrupt *)(uintptr_t)handle);
	atomic_store(&transport->address, address);
	return 0;
}

/* `cause` raises `vector` from now on; 0: nothing. -EINVAL: there is no such cause. */
MOLT_EXPORT int32_t molt_interrupt_assign(uint64_t handle, uint32_t cause, uint64_t vector)
{
	struct molt_interrupt *interrupt = (void *)(uintptr_t)handle;

	if (cause >= interrupt->causes)
		return -EINVAL;
	atomic_store(&interrupt->vectors[cause], (struct molt_vector *)(uintptr_t)vector);
	return 0;
}

/* MSI-X of the function is enabled (1) or not (0). */
MOLT_EXPORT void molt_interrupt_enable_vectors(uint64_t handle, uint32_t on)
{
	atomic_store(&((struct molt_interrupt *)(uintptr_t)handle)->vectored, on != 0);
}

/* The errno of the first interrupt that KVM refused since the last restore; 0: none. */
MOLT_EXPORT int32_t molt_interrupt_error(uint64_t handle)
{
	return atomic_load(&((struct molt_interrupt *)(uintptr_t)handle)->error);
}

/* Has KVM do `request`. A guest that misses an interrupt must not run on as if nothing had happened. */
static void inject(struct molt_interrupt *interrupt, unsigned long request, void *argument)
{
	int32_t none = 0;

	if (ioctl(interrupt->vm, request, argument) < 0 &&
	    atomic_compare_exchange_strong(&interrupt->error, &none, errno))
		eventfd_write(interrupt->attention, 1);
}

static void set_line(struct molt_interrupt *interrupt, uint32_t level)
{
	struct kvm_irq_level line = { .irq = (uint32_t)interrupt->gsi, .level = level };

	if (interrupt->vm >= 0)
		inject(interrupt, KVM_IRQ_LINE, &line);
}

/*
 * Gives the input the level that goes with InterruptStatus. What the register was before does not count:
 * the guest may have acknowledged meanwhile, by another thread, what the caller has asserted.
 * `edge`: through low, because an edge-triggered input needs the edge for a bit that is left.
 */
static void update_line(struct molt_interrupt *interrupt, bool edge)
{
	pthread_mutex_lock(&interrupt->line);
	if (edge)
		set_line(interrupt, 0);

	bool level = atomic_load(&interrupt->status) != 0;

	if (level || !edge)
		set_line(interrupt, level);
	pthread_mutex_unlock(&interrupt->line);
}

static void send_message(struct molt_interrupt *interrupt)
{
	uint64_t message = atomic_load(&interrupt->message);
	struct kvm_msi msi = { .address_lo = (uint32_t)message, .data = (uint32_t)(message >> 32) };

	if (interrupt->vm >= 0 && message != 0)
		inject(interrupt, KVM_SIGNAL_MSI, &msi);
}

/* Has the guest be interrupted, now that bits are set. */
static void deliver(struct molt_interrupt *interrupt)
{
	switch (interrupt->gsi) {
	case BY_MESSAGE:
		send_message(interrupt);
		return;
	case BY_FUNCTION:
		if (interrupt->attention >= 0)
			eventfd_write(interrupt->attention, 1);
		return;
	default:
		update_line(interrupt, false);
	}
}

void molt_interrupt_assert(struct molt_interrupt *interrupt, uint32_t bits, uint32_t cause)
{
	uint32_t before = atomic_fetch_or(&interrupt->status, bits);

	if (atomic_load(&interrupt->vectored)) {
		struct molt_vector *vector =
			cause < interrupt->causes ? atomic_load(&interrupt->vectors[cause]) : NULL;

		if (vector)
			molt_vector_send(vector);
		return;
	}
	/* Whoever found the bits zero sees to the interrupt. */
	if (before == 0)
		deliver(interrupt);
}

static void acknowledge(struct molt_interrupt *interrupt, uint32_t bits)
{
	uint32_t left = atomic_fetch_and(&interrupt->status, ~bits) & ~bits;

	if (interrupt->gsi >= 0)
		update_line(interrupt, true);
	else if (left != 0)
		deliver(interrupt);
}

/* molt_interrupt_assert for TypeScript. */
MOLT_EXPORT void molt_interrupt_raise(uint64_t handle, uint32_t bits, uint32_t cause)
{
	molt_interrupt_assert((void *)(uintptr_t)handle, bits, cause);
}

/* The guest has seen `bits`: it wrote them to InterruptACK, or read them from PCI's ISR status. */
MOLT_EXPORT void molt_interrupt_acknowledge(uint64_t handle, uint32_t bits)
{
	acknowledge((void *)(uintptr_t)handle, bits);
}

/* Gives the bits a value, after a reset or a load, and the line the level that goes with it. */
MOLT_EXPORT void molt_interrupt_restore(uint64_t handle, uint32_t status)
{
	struct molt_interrupt *interrupt = (void *)(uintptr_t)handle;

	atomic_store(&interrupt->error, 0);
	atomic_store(&interrupt->status, status);
	if (interrupt->gsi >= 0)
		update_line(interrupt, false);
	else if (status != 0)
		deliver(interrupt);
}

/* The guest programmed the pin: the message it wants from now on; data and address 0: masked. */
MOLT_EXPORT void molt_interrupt_route(uint64_t handle, uint32_t address, uint32_t data)
{
	struct molt_interrupt *interrupt = (void *)(uintptr_t)handle;
	uint64_t message = (uint64_t)data << 32 | address;

	if (atomic_exchange(&interrupt->message, message) != message &&
	    atomic_load(&interrupt->status) != 0)
		send_message(interrupt);
}

bool molt_interrupt_serve(struct kvm_run *run)
{
	if (run->exit_reason != KVM_EXIT_MMIO || run->mmio.len != 4)
		return false;

	uint64_t offset = run->mmio.phys_addr % REGISTERS_SIZE;
	uint64_t address = run->mmio.phys_addr - offset;
	struct transport *transport = transport_at(address);

	if (address == 0 || atomic_load(&transport->address) != address)
		return false;

	struct molt_interrupt *interrupt = atomic_load(&transport->interrupt);
	uint32_t value;

	if (!interrupt)
		return false;
	switch (offset) {
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		if (run->mmio.is_write)
			return false;
		value = atomic_load(&interrupt->status);
		memcpy(run->mmio.data, &value, sizeof value);
		return true;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		if (!run->mmio.is_write)
			return false;
		memcpy(&value, run->mmio.data, sizeof value);
		acknowledge(interrupt, value);
		return true;
	default:
		return false;
	}
}
