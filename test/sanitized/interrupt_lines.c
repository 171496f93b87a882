/*
 * Devices' threads assert interrupts while the guest acknowledges them: the input of KVM's interrupt
 * controllers is high while a bit of InterruptStatus is set, and low afterwards.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "support/entry_points.h"
#include "support/kvm_guest.h"
#include "support/late_calls.h"
#include "support/program.h"

#define GSI 20
#define DEVICES 2

static struct guest guest;
static uint64_t interrupt;
static pthread_barrier_t begin, end;
static _Atomic bool over;
static _Atomic uint32_t asserting;

static uint32_t status(void)
{
	return atomic_load((const _Atomic uint32_t *)(uintptr_t)interrupt);
}

/* Whether the I/O APIC's input is high. */
static bool is_high(void)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };

	check(ioctl(guest.vm, KVM_GET_IRQCHIP, &chip) == 0, "KVM_GET_IRQCHIP: %s", strerror(errno));
	return chip.chip.ioapic.irr >> GSI & 1;
}

/* A device: asserts its bit a few times. */
static void *device(void *argument)
{
	uint32_t bit = *(const uint32_t *)argument;

	for (;;) {
		pthread_barrier_wait(&begin);
		if (atomic_load(&over))
			return NULL;
		for (uint32_t i = 1 + random_below(3); i > 0; i--) {
			molt_interrupt_raise(interrupt, bit, 0);
			dither();
		}
		atomic_fetch_sub(&asserting, 1);
		pthread_barrier_wait(&end);
	}
}

/* The guest: looks at the register and acknowledges what it sees, until the devices are done. */
static void acknowledge_all(void)
{
	while (atomic_load(&asserting) > 0 || status() != 0) {
		uint32_t seen = status();

		if (seen != 0)
			molt_interrupt_acknowledge(interrupt, seen);
	}
}

int main(int argc, char **argv)
{
	uint32_t count = rounds(argc, argv, 500);
	static const uint32_t bits[DEVICES] = { 1, 2 };
	pthread_t threads[DEVICES];

	guest_create(&guest, NULL);
	check(ioctl(guest.vm, KVM_CREATE_IRQCHIP, 0) == 0, "KVM_CREATE_IRQCHIP: %s", strerror(errno));

	int64_t handle = molt_interrupt_create(guest.vm, GSI, -1, 0);

	check(handle > 0, "molt_interrupt_create: %ld", (long)handle);
	interrupt = (uint64_t)handle;

	molt_interrupt_raise(interrupt, 1, 0);
	check(is_high(), "the input is low while a bit is set");
	molt_interrupt_acknowledge(interrupt, 1);
	check(!is_high(), "the input is high and no bit is set");
	molt_interrupt_restore(interrupt, 2);
	check(is_high(), "the input is low after a status was restored");
	molt_interrupt_restore(interrupt, 0);
	check(!is_high(), "the input is high after a reset");

	late_ioctl(KVM_IRQ_LINE, 100);
	set_limit(60, "a round of interrupts");
	pthread_barrier_init(&begin, NULL, DEVICES + 1);
	pthread_barrier_init(&end, NULL, DEVICES + 1);
	for (uint32_t i = 0; i < DEVICES; i++)
		pthread_create(&threads[i], NULL, device, (void *)(uintptr_t)&bits[i]);
	for (uint32_t round = 0; round < count; round++) {
		atomic_store(&asserting, DEVICES);
		pthread_barrier_wait(&begin);
		acknowledge_all();
		pthread_barrier_wait(&end);
		check(!is_high(), "round %u: the input is high and no bit is set", round);

		molt_interrupt_raise(interrupt, 1, 0);
		check(is_high(), "round %u: the input is low while a bit is set", round);
		molt_interrupt_acknowledge(interrupt, 1);
	}
	atomic_store(&over, true);
	pthread_barrier_wait(&begin);
	for (uint32_t i = 0; i < DEVICES; i++)
		pthread_join(threads[i], NULL);
	molt_interrupt_destroy(interrupt);
	guest_destroy(&guest);
	printf("interrupt_lines: %u rounds\n", count);
	return 0;
}
