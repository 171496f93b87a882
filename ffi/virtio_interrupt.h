#ifndef MOLT_VIRTIO_INTERRUPT_H
#define MOLT_VIRTIO_INTERRUPT_H

#include <stdbool.h>
#include <stdint.h>

struct kvm_run;

/*
 * The interrupt of one virtio-mmio device: the register InterruptStatus and the way to the guest. The
 * interrupt is asserted while a bit is set.
 *
 * Two ways: an input of KVM's own interrupt controllers (its level is the register's being non-zero);
 * or a message to a local APIC, for pins of an I/O APIC in user space. Such a pin is level-triggered,
 * and nobody notifies user space when the guest has ended the interrupt. But a driver that handled it has
 * acknowledged it: a message goes out when the register stops being zero, and again when an
 * acknowledgement leaves a bit set. So none is lost, and none waits for an end that is not reported.
 */
struct molt_interrupt;

/* Bits of InterruptStatus. */
#define MOLT_INTERRUPT_QUEUE 1
#define MOLT_INTERRUPT_CONFIGURATION 2

/* Sets bits of InterruptStatus. Any thread. */
void molt_interrupt_assert(struct molt_interrupt *interrupt, uint32_t bits);

/*
 * Answers a vCPU's access to InterruptStatus or InterruptACK, two for every interrupt a guest takes,
 * without leaving the vCPU's thread. False: the exit is something else.
 */
bool molt_interrupt_serve(struct kvm_run *run);

#endif
