#ifndef MOLT_VIRTIO_INTERRUPT_H
#define MOLT_VIRTIO_INTERRUPT_H

#include <stdbool.h>
#include <stdint.h>

struct kvm_run;

/*
 * The interrupt of one virtio device: the bits that say why, and the way to the guest. The interrupt is
 * asserted while a bit is set.
 *
 * Three ways:
 *
 *   an input    of KVM's own interrupt controllers: its level is the bits' being non-zero
 *   a message   to a local APIC, for pins of an I/O APIC in user space. Such a pin is level-triggered, and
 *               nobody notifies user space when the guest has ended the interrupt. But a driver that handled
 *               it has acknowledged it: a message goes out when the bits stop being zero, and again when an
 *               acknowledgement leaves one set. So none is lost, and none waits for an end that is not
 *               reported
 *   a function  of PCI: vectors of its own for each cause while MSI-X is enabled; otherwise the isolate, which
 *               is woken when the bits stop being zero, sets the line that the function shares with others
 */
struct molt_interrupt;

/* Why the guest is interrupted: bits of virtio-mmio's InterruptStatus and of PCI's ISR status. */
#define MOLT_INTERRUPT_QUEUE 1
#define MOLT_INTERRUPT_CONFIGURATION 2

/* What interrupts: the configuration, or queue number n as cause n + 1. */
#define MOLT_CAUSE_CONFIGURATION 0
#define MOLT_CAUSE_QUEUE(n) ((n) + 1)
/* Causes that a device can have: 1024 queues and its configuration. */
#define MOLT_CAUSES 1025

/* Sets bits and interrupts for `cause`. Any thread. */
void molt_interrupt_assert(struct molt_interrupt *interrupt, uint32_t bits, uint32_t cause);

/*
 * Answers a vCPU's access to InterruptStatus or InterruptACK, two for every interrupt a guest takes,
 * without leaving the vCPU's thread. False: the exit is something else.
 */
bool molt_interrupt_serve(struct kvm_run *run);

#endif
